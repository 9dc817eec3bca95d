"""GGUF files: the model that was written is the model that is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFWriter, quantize
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from harness.errors import HarnessError
from harness_instruct.students.gguf_llama import read_gguf_llama

TEXTS = ["the colour of grass is green", "the grass is 1234 green"]
IDS = torch.tensor([[5, 9, 200, 31, 7, 260]])
HEADS, SHARED = 4, 2


def vocabulary() -> dict[str, Any]:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.train_from_iterator(
        TEXTS,
        trainers.BpeTrainer(
            vocab_size=280,
            special_tokens=["<|start|>", "<|end|>"],
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    import json

    content = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(content["vocab"], key=content["vocab"].get)
    return {"tokens": tokens, "merges": [" ".join(merge) for merge in content["merges"]]}


def llama(*, tied: bool) -> PreTrainedModel:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(vocabulary()["tokens"]), hidden_size=64, intermediate_size=96,
            num_hidden_layers=2, num_attention_heads=HEADS, num_key_value_heads=SHARED,
            max_position_embeddings=77, rms_norm_eps=1e-5, initializer_range=0.3,
            rope_parameters={"rope_type": "default", "rope_theta": 5000.0},
            tie_word_embeddings=tied, bos_token_id=0, eos_token_id=1,
        )
    ).eval()  # fmt: skip


def interleaved(rows: np.ndarray, heads: int) -> np.ndarray:
    """A head's rows in llama.cpp's order: 0, n/2, 1, n/2 + 1, ... by a plain loop."""
    size = rows.shape[0] // heads
    order = [
        head * size + half * (size // 2) + n
        for head in range(heads)
        for n in range(size // 2)
        for half in (0, 1)
    ]
    return rows[order]


NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}  # fmt: skip


def gguf_name(name: str) -> str:
    fixed = {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
        "lm_head.weight": "output.weight",
    }
    if name in fixed:
        return fixed[name]
    _, _, layer, part = name.removesuffix(".weight").split(".", 3)
    return f"blk.{layer}.{NAMES[part]}.weight"


def write(
    path: Path,
    model: PreTrainedModel,
    *,
    quantised: bool = False,
    architecture: str = "llama",
    pre: str = "smollm",
    extra: str = "",
) -> Path:
    config, words = model.config, vocabulary()
    writer = GGUFWriter(path, architecture)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(SHARED)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(5000.0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(words["tokens"])
    writer.add_token_types([3, 3, *([1] * (len(words["tokens"]) - 2))])
    writer.add_token_merges(words["merges"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_chat_template("{{ messages[0]['content'] }}")
    for name, value in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array = value.numpy()
        if "q_proj" in name:
            array = interleaved(array, HEADS)
        if "k_proj" in name:
            array = interleaved(array, SHARED)
        kind = GGMLQuantizationType.Q4_1 if quantised and array.ndim == 2 else None
        if kind is None:
            writer.add_tensor(gguf_name(name), array)
        else:
            writer.add_tensor(gguf_name(name), quantize(array, kind), raw_dtype=kind)
    if extra:
        writer.add_tensor(extra, np.zeros(4, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("tied", [True, False])
def test_the_model_is_the_one_that_was_written(tmp_path: Path, tied: bool) -> None:
    model = llama(tied=tied)
    again = read_gguf_llama(write(tmp_path / "model.gguf", model)).model()
    with torch.no_grad():
        torch.testing.assert_close(again(IDS).logits, model(IDS).logits, rtol=1e-6, atol=1e-6)
    assert again.config.max_position_embeddings == 77
    shared = again.lm_head.weight is again.model.embed_tokens.weight
    assert shared == tied
    assert all(p.requires_grad for p in again.parameters())


def test_four_bits_are_near(tmp_path: Path) -> None:
    model = llama(tied=True)
    again = read_gguf_llama(write(tmp_path / "model.gguf", model, quantised=True)).model()
    exact, rounded = model.state_dict(), again.state_dict()
    for name, value in exact.items():
        if value.dim() == 2:
            error = (rounded[name] - value).abs().max()
            # A block of 32 values has 16 levels, so no value is farther than half a step.
            assert 0 < error < (value.max() - value.min()) / 15


def test_two_students_do_not_share_weights(tmp_path: Path) -> None:
    content = read_gguf_llama(write(tmp_path / "model.gguf", llama(tied=True)))
    first, second = content.model(), content.model()
    with torch.no_grad():
        first.model.norm.weight.zero_()
    assert bool(second.model.norm.weight.any())
    third = content.model()
    assert bool(third.model.norm.weight.any())


def test_the_tokenizer_is_smollms(tmp_path: Path) -> None:
    tokenizer = read_gguf_llama(write(tmp_path / "model.gguf", llama(tied=True))).fast_tokenizer()
    for text in [*TEXTS, "Ünïcode, 77 times\n\n  over"]:
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.decode(ids) == text
    tokens = tokenizer.tokenize("the 1234 grass")
    assert [t for t in tokens if t.isdecimal()] == ["1", "2", "3", "4"]
    assert len(tokenizer.tokenize("the grass")) < len("the grass")
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|start|>", "<|end|>")
    assert tokenizer("green<|end|>")["input_ids"][-1] == 1
    assert tokenizer.model_max_length == 77
    user = [{"role": "user", "content": "hello"}]
    assert tokenizer.apply_chat_template(user, tokenize=False) == "hello"


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"architecture": "gpt2"}, "general.architecture = 'gpt2'"),
        ({"pre": "llama-bpe"}, "tokenizer.ggml.pre = 'llama-bpe'"),
        ({"extra": "blk.0.ffn_gate_exps.weight"}, "unknown tensor 'blk.0.ffn_gate_exps"),
    ],
)
def test_what_cannot_be_read_is_named(
    tmp_path: Path, changes: dict[str, str], complaint: str
) -> None:
    with pytest.raises(HarnessError, match=complaint.replace(".", r"\.")):
        read_gguf_llama(write(tmp_path / "other.gguf", llama(tied=True), **changes))  # type: ignore[arg-type]


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "more.gguf", llama(tied=True), extra="blk.2.attn_norm.weight")
    with pytest.raises(HarnessError, match=r"do not fit .*layers\.2\.input_layernorm"):
        read_gguf_llama(path).model()
