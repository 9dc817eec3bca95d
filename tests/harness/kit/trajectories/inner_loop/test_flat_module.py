"""A module as a function of a flat vector: same outputs, right derivatives, clear refusals."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from trajectory_world import make_world

from causal_models import FAMILIES, make_lm
from harness.errors import UsageError
from harness.kit.trajectories.inner_loop.flat_module import FlatModule
from harness.kit.trajectories.pseudo_rows import embedded_ids

IDS = torch.tensor([[5, 9, 3, 14, 7]])


def curvature(view: FlatModule) -> Tensor:
    """The gradient of the squared gradient of a loss: one that needs second derivatives."""
    flat = view.start().requires_grad_()
    loss = view(flat, input_ids=IDS).logits.float().logsumexp(-1).mean()
    (gradient,) = torch.autograd.grad(loss, flat, create_graph=True)
    (second,) = torch.autograd.grad(gradient.square().sum(), flat)
    return second


@pytest.mark.parametrize("lora", [True, False])
def test_at_the_modules_own_parameters_it_is_the_module(lora: bool) -> None:
    world = make_world(lora=lora)
    with torch.no_grad():
        expected = world.lm.model(input_ids=IDS).logits
        found = world.view(world.view.start(), input_ids=IDS).logits
    torch.testing.assert_close(found, expected)


def test_a_change_of_the_vector_is_a_change_of_the_parameters_and_leaves_the_module_alone() -> None:
    world = make_world()
    before = {n: p.detach().clone() for n, p in world.lm.model.named_parameters()}
    flat = world.view.start() + 0.05
    found = world.view(flat, input_ids=IDS).logits
    for name, parameter in world.lm.model.named_parameters():
        assert torch.equal(parameter, before[name])
    with torch.no_grad():
        for parameter in world.view.layout.parameters(world.lm.model).values():
            parameter += 0.05
        torch.testing.assert_close(world.lm.model(input_ids=IDS).logits, found)


def test_parameters_outside_the_layout_are_constants_though_they_could_be_trained() -> None:
    world = make_world(lora=False, names=["model.norm.weight"])
    flat = world.view.start().requires_grad_()
    world.view(flat, input_ids=IDS).logits.sum().backward()
    assert flat.grad is not None
    assert flat.grad.any()
    assert all(p.grad is None for p in world.lm.model.parameters())


@pytest.mark.parametrize("family", list(FAMILIES))
def test_second_derivatives_do_not_depend_on_the_attention_kernel(family: str) -> None:
    found = []
    for kind in ("eager", "sdpa"):
        lm = make_lm(family, dtype=torch.float64)
        lm.model.set_attn_implementation(kind)
        names = [n for n, p in lm.model.named_parameters() if p.dim() == 2][-3:]
        found.append(curvature(FlatModule.of(lm.model, names)))
    assert found[0].any()
    torch.testing.assert_close(found[0], found[1])


def test_a_matched_table_moves_the_embeddings_and_the_tied_head() -> None:
    lm = make_lm("qwen", dtype=torch.float64)
    view = FlatModule.of(lm.model, ["model.embed_tokens.weight"])
    flat = view.start() * 2
    torch.testing.assert_close(
        embedded_ids(view, flat, IDS), 2 * lm.model.get_input_embeddings()(IDS)
    )
    embeds = lm.model.get_input_embeddings()(IDS).detach()
    with torch.no_grad():
        plain = lm.model(inputs_embeds=embeds).logits
        moved = view(flat, inputs_embeds=embeds).logits
    torch.testing.assert_close(moved, 2 * plain)


@pytest.mark.parametrize("kind", ["flash_attention_2", "flex_attention"])
def test_attention_without_second_derivatives_is_refused(kind: str) -> None:
    lm = make_lm()
    lm.model.config._attn_implementation = kind
    with pytest.raises(UsageError, match=f"'{kind}' has no second derivative"):
        FlatModule.of(lm.model)


def test_half_precision_is_refused() -> None:
    with pytest.raises(UsageError, match="bfloat16 cannot be differentiated twice"):
        FlatModule.of(make_lm(dtype=torch.bfloat16).model)


def test_a_module_in_training_mode_is_refused() -> None:
    lm = make_lm()
    lm.model.train()
    with pytest.raises(UsageError, match="training mode"):
        FlatModule.of(lm.model)


def test_a_module_with_nothing_to_train_is_refused() -> None:
    lm = make_lm()
    lm.model.requires_grad_(False)
    with pytest.raises(UsageError, match="no trainable parameter"):
        FlatModule.of(lm.model)
