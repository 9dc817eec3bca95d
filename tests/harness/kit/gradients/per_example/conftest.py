"""Tiny causal language models with random weights, and rows of different lengths."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from harness.kit.language.labelled_rows import IGNORED, LabelledRows
from harness.kit.training.batching import EncodedRows, PaddingSide

VOCABULARY = 23
PAD = 0


def tiny_llama(*, tied: bool = False) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=32,
        initializer_range=0.3,
        tie_word_embeddings=tied,
        attention_bias=True,
        attn_implementation="eager",
    )
    return LlamaForCausalLM(config)


def tiny_gpt2() -> GPT2LMHeadModel:
    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=32,
        n_embd=16,
        n_layer=2,
        n_head=2,
        initializer_range=0.3,
        bos_token_id=1,
        eos_token_id=1,
        attn_implementation="eager",
    )
    return GPT2LMHeadModel(config)


def lora_llama() -> nn.Module:
    """Adapters as after some training: neither A nor B is zero."""
    config = LoraConfig(r=4, lora_alpha=8, lora_dropout=0.1, target_modules=["q_proj", "v_proj"])
    model = get_peft_model(tiny_llama(), config)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            nn.init.normal_(parameter, std=0.2)
    return model


MODELS: dict[str, Callable[[], nn.Module]] = {
    "llama with LoRA": lora_llama,
    "llama, all weights": tiny_llama,
    "llama, tied head": lambda: tiny_llama(tied=True),
    "gpt2, all weights, tied head": tiny_gpt2,
}


def make_model(kind: str, dtype: torch.dtype = torch.float32) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MODELS[kind]().to(dtype).eval()


def make_rows(
    lengths: tuple[int, ...] = (9, 4, 12, 6), side: PaddingSide = "right", seed: int = 0
) -> LabelledRows:
    """Random tokens; about the first half of each row is a prompt without labels."""
    generator = np.random.default_rng(seed)
    ids = tuple(generator.integers(1, VOCABULARY, size=n) for n in lengths)
    labels = tuple(np.where(np.arange(len(row)) < len(row) // 2, IGNORED, row) for row in ids)
    return LabelledRows(EncodedRows(ids, side=side), labels)


@pytest.fixture(params=list(MODELS))
def any_model(request: pytest.FixtureRequest) -> nn.Module:
    return make_model(request.param)
