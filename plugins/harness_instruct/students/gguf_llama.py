"""Llama models from GGUF files, with their tokenizer, dequantised to float32.

llama.cpp stores the rows of the query and key matrices of each head in the order of its own
rotary embedding; they are put back in the order that transformers expects.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from harness.errors import HarnessError, MissingDependencyError
from harness.kit.modes import quiet_transformers

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

_CONTROL = 3
"""GGUF's type of tokens that stand for no text."""

_NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_BLOCK = re.compile(r"blk\.(\d+)\.(\w+)\.weight")
_PARTS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


@dataclass(frozen=True)
class GgufLlama:
    """What a file holds: the configuration's values, the weights by name, and the tokenizer."""

    config: dict[str, Any]
    weights: dict[str, Tensor]
    tokenizer: str
    special: dict[str, str]
    chat_template: str

    def model(self) -> PreTrainedModel:
        """A new model with these weights, float32.

        Raises:
            HarnessError: the weights are not those that the configuration asks for.
        """
        from transformers import LlamaConfig, LlamaForCausalLM

        with quiet_transformers(), torch.device("meta"):
            model = LlamaForCausalLM(LlamaConfig(**self.config))
        model.to_empty(device="cpu")
        # Rotary frequencies are not in the file: they are computed from the configuration.
        model.model.rotary_emb = type(model.model.rotary_emb)(model.config)
        model.tie_weights()
        left = model.load_state_dict(self.weights, strict=False)
        tied = {"lm_head.weight"} if self.config["tie_word_embeddings"] else set()
        wrong = [*(set(left.missing_keys) - tied), *left.unexpected_keys]
        if wrong:
            raise HarnessError(f"the file's weights do not fit its configuration: {sorted(wrong)}")
        return model

    def fast_tokenizer(self) -> PreTrainedTokenizerFast:
        """A new tokenizer, its chat template included."""
        from tokenizers import Tokenizer
        from transformers import PreTrainedTokenizerFast

        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer.from_str(self.tokenizer),
            model_max_length=self.config["max_position_embeddings"],
            **self.special,
        )
        tokenizer.chat_template = self.chat_template or None
        return tokenizer


@lru_cache(maxsize=1)
def read_gguf_llama(path: Path) -> GgufLlama:
    """The content of a file, kept in memory for the next student of the same process.

    Raises:
        MissingDependencyError: the package `gguf` is not installed.
        HarnessError: another architecture or tokenizer than this reader knows.
    """
    try:
        from gguf import GGUFReader, dequantize
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "GGUF weights need the package 'gguf', which is not installed",
            hint="pip install 'distill-harness[gguf]'",
        ) from error
    reader = GGUFReader(path)
    values = _Values({name: field.contents for name, field in reader.fields.items()}, path.name)
    values.require("general.architecture", "llama")
    values.require("tokenizer.ggml.model", "gpt2")
    values.require("tokenizer.ggml.pre", "smollm")
    heads = {"attn_q": values["llama.attention.head_count"]}
    heads["attn_k"] = values["llama.attention.head_count_kv"]
    weights = {}
    for tensor in reader.tensors:
        array = dequantize(tensor.data, tensor.tensor_type)
        name, part = _renamed(tensor.name, path.name)
        if part in heads:
            array = _reordered(array, heads[part])
        weights[name] = torch.from_numpy(np.array(array, dtype=np.float32, order="C"))
    return GgufLlama(
        config=_configuration(values, tied="lm_head.weight" not in weights),
        weights=weights,
        tokenizer=_tokenizer(values),
        special=_special_tokens(values),
        chat_template=values.get("tokenizer.chat_template", ""),
    )


class _Values:
    """The file's key-value pairs, read when asked for."""

    def __init__(self, readers: dict[str, Any], file: str) -> None:
        self._readers = readers
        self._file = file

    def __getitem__(self, name: str) -> Any:
        if name not in self._readers:
            raise HarnessError(f"'{self._file}' has no '{name}'")
        return self._readers[name]()

    def get(self, name: str, default: Any) -> Any:
        return self._readers[name]() if name in self._readers else default

    def require(self, name: str, expected: str) -> None:
        if self[name] != expected:
            raise HarnessError(
                f"'{self._file}' has {name} = '{self[name]}', only '{expected}' can be read"
            )


def _renamed(name: str, file: str) -> tuple[str, str]:
    """A tensor's name in transformers, and which part of a block it is, if of one."""
    if name in _NAMES:
        return _NAMES[name], ""
    block = _BLOCK.fullmatch(name)
    if block is None or block[2] not in _PARTS:
        raise HarnessError(f"'{file}' has the unknown tensor '{name}'")
    return f"model.layers.{block[1]}.{_PARTS[block[2]]}.weight", block[2]


def _reordered(rows: np.ndarray, heads: int) -> np.ndarray:
    """Rows whose neighbours rotate together to rows whose halves do, in each head."""
    pairs = rows.reshape(heads, rows.shape[0] // heads // 2, 2, -1)
    return pairs.swapaxes(1, 2).reshape(rows.shape)


def _configuration(values: _Values, *, tied: bool) -> dict[str, Any]:
    heads = values["llama.attention.head_count"]
    width = values["llama.embedding_length"]
    theta = float(values.get("llama.rope.freq_base", 10_000.0))
    return {
        "vocab_size": len(values["tokenizer.ggml.tokens"]),
        "hidden_size": width,
        "intermediate_size": values["llama.feed_forward_length"],
        "num_hidden_layers": values["llama.block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": values["llama.attention.head_count_kv"],
        "max_position_embeddings": values["llama.context_length"],
        "rms_norm_eps": float(values["llama.attention.layer_norm_rms_epsilon"]),
        "rope_parameters": {"rope_type": "default", "rope_theta": theta},
        "tie_word_embeddings": tied,
        "bos_token_id": values["tokenizer.ggml.bos_token_id"],
        "eos_token_id": values["tokenizer.ggml.eos_token_id"],
    }


def _tokenizer(values: _Values) -> str:
    """SmolLM's byte-level BPE, which takes digits one by one, as JSON text."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    tokens = values["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ", 1)) for merge in values["tokenizer.ggml.merges"]]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    kinds = values["tokenizer.ggml.token_type"]
    control = [token for token, kind in zip(tokens, kinds, strict=True) if kind == _CONTROL]
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in control])
    return tokenizer.to_str()


def _special_tokens(values: _Values) -> dict[str, str]:
    tokens = values["tokenizer.ggml.tokens"]
    ids = {
        "bos_token": values["tokenizer.ggml.bos_token_id"],
        "eos_token": values["tokenizer.ggml.eos_token_id"],
        "pad_token": values.get("tokenizer.ggml.padding_token_id", None),
    }
    return {name: tokens[token] for name, token in ids.items() if token is not None}
