"""Construction of causal language models by transformers, reproducibly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from harness.errors import UsageError
from harness.kit.modes import quiet_transformers
from harness.kit.weights import reading_weights
from harness.randomness import seeded
from harness_instruct.students.vocabulary import TINY_LENGTH

_KIND = "a causal language model"
_WIDTH, _LAYERS, _HEADS = 128, 2, 4


def load_causal_lm(folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """A checkpoint with its tokenizer, in float32 whatever it stores.

    Raises:
        HarnessError: transformers cannot read the folder as a causal language model.
        UsageError: its tokenizer is not one of the fast ones.
    """
    with quiet_transformers(), reading_weights(folder, _KIND):
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, local_files_only=True
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise UsageError(f"'{folder.name}' has no fast tokenizer (tokenizer.json)")
    return model, tokenizer


def random_causal_lm(family: str, tokenizer: PreTrainedTokenizerFast, seed: int) -> PreTrainedModel:
    """A model of 2 layers, 4 heads and 128 hidden units, all weights drawn from `seed`."""
    with seeded(seed), quiet_transformers():
        return _TINY[family](tokenizer)


def _llama(tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=_WIDTH,
            intermediate_size=3 * _WIDTH,
            num_hidden_layers=_LAYERS,
            num_attention_heads=_HEADS,
            num_key_value_heads=_HEADS,
            max_position_embeddings=TINY_LENGTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )


def _opt(tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    return OPTForCausalLM(
        OPTConfig(
            vocab_size=len(tokenizer),
            hidden_size=_WIDTH,
            word_embed_proj_dim=_WIDTH,
            ffn_dim=4 * _WIDTH,
            num_hidden_layers=_LAYERS,
            num_attention_heads=_HEADS,
            max_position_embeddings=TINY_LENGTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.eos_token_id,
        )
    )


def _gpt2(tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(tokenizer),
            n_embd=_WIDTH,
            n_layer=_LAYERS,
            n_head=_HEADS,
            n_positions=TINY_LENGTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )


_TINY: dict[str, Callable[[PreTrainedTokenizerFast], PreTrainedModel]] = {
    "llama": _llama,
    "opt": _opt,
    "gpt2": _gpt2,
}
