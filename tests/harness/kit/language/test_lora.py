"""Adapters: what is trainable, what the seed decides, and that merging changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from causal_models import FAMILIES, make_lm
from harness.errors import UsageError
from harness.kit.language.lora import ATTENTION, LoraOptions, add_lora, merge_lora

EVERY = pytest.mark.parametrize("family", list(FAMILIES))
IDS = torch.tensor([[5, 9, 200, 31, 7]])


def perturbed(family: str, options: LoraOptions) -> torch.nn.Module:
    """A model with adapters whose B is no longer zero."""
    model = add_lora(make_lm(family, dtype=torch.float64).model, options, seed=1)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return model.eval()


@EVERY
def test_the_adapters_of_attention_alone_are_trainable(family: str) -> None:
    plain = make_lm(family).model
    before = sum(p.numel() for p in plain.parameters())
    model = add_lora(plain, LoraOptions(rank=2), seed=0)
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trainable
    assert all(".lora_A." in name or ".lora_B." in name for name in trainable)
    layers = len(ATTENTION[plain.config.model_type]) * plain.config.num_hidden_layers
    assert len(trainable) == 2 * layers
    assert sum(p.numel() for p in model.parameters() if not p.requires_grad) == before


@EVERY
def test_fresh_adapters_change_nothing_and_merged_ones_stay_in_the_weights(family: str) -> None:
    plain = make_lm(family, dtype=torch.float64).model
    with torch.no_grad():
        expected = plain(IDS).logits
        fresh = add_lora(plain, LoraOptions(rank=2), seed=1).eval()
        torch.testing.assert_close(fresh(IDS).logits, expected)
        adapted = perturbed(family, LoraOptions(rank=2, alpha=8))
        changed = adapted(IDS).logits
        assert float((changed - expected).abs().max()) > 0.1
        merged = merge_lora(adapted)
        torch.testing.assert_close(merged(IDS).logits, changed, rtol=1e-9, atol=1e-9)
    assert type(merged) is type(make_lm(family).model)
    assert all(p.requires_grad for p in merged.parameters())
    assert not any("lora" in name for name in merged.state_dict())


def test_the_update_is_alpha_over_rank_times_b_a() -> None:
    plain = make_lm(dtype=torch.float64).model
    before = plain.model.layers[1].self_attn.q_proj.weight.detach().clone()
    adapted = perturbed("llama", LoraOptions(rank=2, alpha=6))
    layer = adapted.base_model.model.model.layers[1].self_attn.q_proj
    a, b = layer.lora_A["default"].weight.detach(), layer.lora_B["default"].weight.detach()
    merged = merge_lora(adapted).model.layers[1].self_attn.q_proj.weight
    torch.testing.assert_close(merged.detach(), before + 6 / 2 * b @ a)


def test_the_seed_decides_the_adapters_and_the_global_generators_are_put_back() -> None:
    def drawn(seed: int) -> np.ndarray:
        model = add_lora(make_lm().model, LoraOptions(rank=2), seed)
        values = [p.detach().flatten() for n, p in model.named_parameters() if "lora_A" in n]
        return torch.cat(values).numpy()

    torch.manual_seed(11)
    state = torch.random.get_rng_state()
    first, again, other = drawn(1), drawn(1), drawn(2)
    assert torch.equal(torch.random.get_rng_state(), state)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_layers_can_be_named() -> None:
    model = add_lora(make_lm().model, LoraOptions(rank=2, targets=("down_proj",)), seed=0)
    adapted = {name for name, p in model.named_parameters() if p.requires_grad}
    assert len(adapted) == 4
    assert all("down_proj" in name for name in adapted)


def test_what_cannot_be_adapted_is_named() -> None:
    with pytest.raises(UsageError, match="LoRA cannot adapt nothing_proj"):
        add_lora(make_lm().model, LoraOptions(targets=("nothing_proj",)), seed=0)
    model = make_lm().model
    model.config.model_type = "unheard-of"
    with pytest.raises(UsageError, match="lora_targets"):
        add_lora(model, LoraOptions(), seed=0)


@pytest.mark.parametrize("bad", [{"rank": 0}, {"alpha": 0}, {"dropout": 1.0}])
def test_impossible_options_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=r"lora\.(rank|alpha) = 0: |lora\.dropout = 1\.0: "):
        LoraOptions(**bad)  # type: ignore[arg-type]
