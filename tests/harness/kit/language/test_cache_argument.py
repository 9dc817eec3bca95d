"""Known keys and values go under the name that the installed transformers gives them."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from transformers import (
    DynamicCache,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
)

from harness.kit.language.cache_argument import with_cache

SMALL = {"vocab_size": 32, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
FAMILIES: dict[str, tuple[Any, Any]] = {
    "gpt2": (GPT2LMHeadModel, GPT2Config(vocab_size=32, n_embd=16, n_layer=2, n_head=2)),
    "llama": (LlamaForCausalLM, LlamaConfig(**SMALL, intermediate_size=16)),
    "opt": (OPTForCausalLM, OPTConfig(**SMALL, ffn_dim=16, word_embed_proj_dim=16)),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("part", ["whole", "base"])
def test_a_model_goes_on_behind_what_it_has_read(family: str, part: str) -> None:
    build, config = FAMILIES[family]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build(config).eval()
    model = model if part == "whole" else model.base_model
    ids = torch.tensor([[5, 3, 8, 1, 9]])
    known = DynamicCache(config=model.config)
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        model(input_ids=ids[:, :3], **with_cache(model, known))
        assert known.get_seq_length() == 3
        rest = model(input_ids=ids[:, 3:], **with_cache(model, known))[0]
        whole = model(input_ids=ids, use_cache=False)[0]
    torch.testing.assert_close(rest, whole[:, 3:], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("newer", "name"), [(True, "cache"), (False, "past_key_values")])
def test_older_releases_know_another_name(newer: bool, name: str) -> None:
    class New:
        def forward(self, input_ids: Any, cache: Any = None, use_cache: Any = None) -> None: ...

    class Old:
        def forward(self, input_ids: Any, past_key_values: Any = None) -> None: ...

    model: Any = New() if newer else Old()
    known: Any = object()
    assert with_cache(model, known) == {name: known, "use_cache": True}
