"""Small causal language models of five families with random weights, and tokenizers for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from harness.kit.language.causal_lm import CausalLM
from harness.types import StudentInfo

START, END = "<s>", "</s>"
TEXTS = (
    "Question: what colour is grass? Answer: green",
    "Question: what colour is snow? Answer: white and cold",
    "the answer is not answering the question of the colour",
)
CHAT_TEMPLATE = (
    "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] | trim }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


def byte_tokenizer(
    *, starts: bool = False, texts: Sequence[str] = TEXTS
) -> PreTrainedTokenizerFast:
    """GPT-2's kind: bytes and a few merges, blanks joined with the word that follows."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=[START, END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if starts:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{START} $A", special_tokens=[(START, 0)]
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=START, eos_token=END)


def sentence_piece_tokenizer(texts: Sequence[str] = TEXTS) -> PreTrainedTokenizerFast:
    """Llama's kind: a mark for every blank, one put before any text, and a start token."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=120, special_tokens=[START, END, "<unk>"], show_progress=False
    )
    tokenizer.train_from_iterator([*texts, "0123456789 :?\n"], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A", special_tokens=[(START, 0)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=START, eos_token=END, unk_token="<unk>"
    )


def llama(vocabulary: int, **changes: object) -> PreTrainedModel:
    return LlamaForCausalLM(LlamaConfig(**{**_SMALL, "vocab_size": vocabulary, **changes}))


def mistral(vocabulary: int, **changes: object) -> PreTrainedModel:
    return MistralForCausalLM(MistralConfig(**{**_SMALL, "vocab_size": vocabulary, **changes}))


def qwen(vocabulary: int) -> PreTrainedModel:
    return Qwen2ForCausalLM(Qwen2Config(**_SMALL, vocab_size=vocabulary, tie_word_embeddings=True))


def gpt_neox(vocabulary: int) -> PreTrainedModel:
    return GPTNeoXForCausalLM(GPTNeoXConfig(**_SMALL, vocab_size=vocabulary, rotary_pct=0.5))


def gpt2(vocabulary: int, positions: int = 64) -> PreTrainedModel:
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=vocabulary, n_embd=16, n_layer=2, n_head=2, n_positions=positions,
            initializer_range=0.3, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
            bos_token_id=0, eos_token_id=1,
        )
    )  # fmt: skip


def opt(vocabulary: int) -> PreTrainedModel:
    return OPTForCausalLM(
        OPTConfig(
            vocab_size=vocabulary, hidden_size=16, ffn_dim=32, num_hidden_layers=2,
            num_attention_heads=2, max_position_embeddings=64, word_embed_proj_dim=16,
            init_std=0.3, dropout=0.0, bos_token_id=0, eos_token_id=1, pad_token_id=2,
        )
    )  # fmt: skip


_SMALL = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
    "bos_token_id": 0,
    "eos_token_id": 1,
}

FAMILIES: dict[str, Callable[[int], PreTrainedModel]] = {
    "llama": llama, "qwen": qwen, "gpt_neox": gpt_neox, "gpt2": gpt2, "opt": opt,
}  # fmt: skip


def make_lm(
    family: str = "llama",
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    tokenizer: PreTrainedTokenizerFast | None = None,
    chat: bool = False,
) -> CausalLM:
    """A model of a family; the same seed gives the same weights."""
    tokenizer = tokenizer or byte_tokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = FAMILIES[family](len(tokenizer)).to(dtype)
    return wrapped(model, tokenizer, chat=chat)


def wrapped(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, *, chat: bool = False
) -> CausalLM:
    """A model ready for prompts."""
    info = StudentInfo(model.config.model_type, "test", "random", 0)
    return CausalLM(model, tokenizer, info, torch.device("cpu"), chat)
