"""The outer losses: zero for the expert's own steps, each blind to what it should be blind to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from trajectory_world import OPTIMIZERS, World, make_world

from harness.errors import UsageError
from harness.kit.language.forward import CausalForward
from harness.kit.language.training import accumulate_completion_gradient
from harness.kit.training.parameter_layout import ParameterLayout
from harness.kit.trajectories.inner_loop.matching_loss import (
    MatchingName,
    MatchingTarget,
    relative_displacement,
)
from harness.kit.trajectories.inner_loop.optimizers import Adam, Sgd

CHUNKS = ([0, 1, 2], [3, 0], [1, 2, 3])
RATE = 0.02
LOSSES: tuple[MatchingName, ...] = ("squared", "per-layer", "cosine", "product")


def expert(world: World, optimizer: torch.optim.Optimizer, dropout: bool = False) -> MatchingTarget:
    """Trains the model itself on the rows' real ids, by torch, and tells where it went."""
    lm, start = world.lm, world.view.start()
    forward = CausalForward(lm.model, world.encoded.rows, lm.pad_id, lm.device)
    shares = torch.ones(len(world.encoded), dtype=start.dtype)
    lm.model.train(dropout)
    for batch in CHUNKS:
        optimizer.zero_grad()
        accumulate_completion_gradient(forward, world.encoded, np.array(batch), shares)
        optimizer.step()
    lm.model.eval()
    target = world.view.start()
    with torch.no_grad():
        for name, tensor in world.view.layout.split(start).items():
            world.view.layout.parameters(lm.model)[name].copy_(tensor)
    return MatchingTarget(world.view.layout, start, target)


def parameters(world: World) -> list[torch.nn.Parameter]:
    return list(world.view.layout.parameters(world.lm.model).values())


def end_of(world: World, optimizer: Sgd | Adam) -> Tensor:
    """Where the inner loop ends on the expert's own batches with its own rate."""
    loop = replace(world.loop("sgd", CHUNKS), optimizer=optimizer)
    start = optimizer.begin(world.view.start())
    rate = torch.tensor(RATE, dtype=start.theta.dtype)
    return loop.states(start, world.learned(), rate)[-1].theta


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_the_experts_own_batches_with_its_own_rate_give_zero_loss(name: str) -> None:
    world, ours = make_world(), OPTIMIZERS[name]
    build = {
        "sgd": lambda p: torch.optim.SGD(p, RATE),
        "momentum": lambda p: torch.optim.SGD(p, RATE, momentum=0.7),
        "adam": lambda p: torch.optim.Adam(p, RATE),
    }[name]
    segment = expert(world, build(parameters(world)))
    assert isinstance(ours, Sgd | Adam)
    end = end_of(world, ours)
    for loss in LOSSES:
        assert float(segment.loss(loss)(end)) < 1e-9


def test_an_expert_of_another_optimiser_is_not_matched_by_its_own_batches() -> None:
    world = make_world()
    segment = expert(world, torch.optim.AdamW(parameters(world), RATE))
    assert float(segment.loss("squared")(end_of(world, Sgd()))) > 0.5


def test_dropout_in_the_expert_alone_breaks_the_identity() -> None:
    world = make_world("gpt2")
    for part in world.lm.model.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.5
    segment = expert(world, torch.optim.SGD(parameters(world), RATE), dropout=True)
    assert float(segment.loss("squared")(end_of(world, Sgd()))) > 1e-3


def test_each_loss_is_one_where_nothing_moved() -> None:
    segment = make_world().matching_target()
    still = segment.start + 0
    for name in ("squared", "per-layer", "product"):
        assert float(segment.loss(name)(still)) == pytest.approx(1)


def test_the_cosine_is_blind_to_length_and_the_square_is_not() -> None:
    segment = make_world().matching_target()
    doubled = segment.start + 2 * (segment.target - segment.start)
    assert float(segment.loss("cosine")(doubled)) == pytest.approx(0, abs=1e-9)
    assert float(segment.loss("squared")(doubled)) == pytest.approx(1)
    assert float(segment.loss("cosine")(2 * segment.start - segment.target)) == pytest.approx(2)


def test_each_layer_counts_the_same_however_little_it_moves() -> None:
    layout = ParameterLayout(("small", "large"), ((2,), (2,)))
    start = torch.zeros(4)
    segment = MatchingTarget(layout, start, torch.tensor([1e-2, 1e-2, 1e2, 1e2]))
    only_small = torch.tensor([1e-2, 1e-2, 0.0, 0.0])
    assert float(segment.loss("per-layer")(only_small)) == pytest.approx(0.5)
    assert float(segment.loss("squared")(only_small)) == pytest.approx(1)


def test_the_product_loss_is_blind_to_another_pair_of_the_same_model() -> None:
    world = make_world()
    segment = world.matching_target()
    mixed = world.view.layout.split(segment.target.clone())
    turn = torch.tensor([[1.0, 0.5], [-0.3, 2.0]], dtype=torch.float64)
    for name, tensor in mixed.items():
        tensor.copy_(turn.inverse() @ tensor if "lora_A" in name else tensor @ turn)
    end = world.view.layout.flatten(mixed)
    assert float(segment.loss("product")(end)) < 1e-12
    assert float(segment.loss("squared")(end)) > 0.5


def test_the_product_loss_needs_pairs_of_adapters() -> None:
    layout = ParameterLayout(("weight",), ((3,),))
    with pytest.raises(UsageError, match="pairs of LoRA matrices, and 'weight' has none"):
        MatchingTarget(layout, torch.zeros(3), torch.ones(3)).loss("product")


@pytest.mark.parametrize("name", LOSSES)
def test_an_expert_that_did_not_move_is_refused(name: MatchingName) -> None:
    layout = ParameterLayout(("x.lora_A.weight", "x.lora_B.weight"), ((1, 3), (3, 1)))
    start = torch.arange(6.0)
    for target in (start.clone(), start + 1e-7):
        with pytest.raises(UsageError, match="did not move"):
            MatchingTarget(layout, start, target).loss(name)


def test_a_layer_that_did_not_move_is_named_where_layers_count() -> None:
    layout = ParameterLayout(("resting", "moving"), ((2,), (2,)))
    segment = MatchingTarget(layout, torch.ones(4), torch.tensor([1.0, 1.0, 2.0, 2.0]))
    with pytest.raises(UsageError, match="'resting' did not move"):
        segment.loss("per-layer")
    assert float(segment.loss("squared")(segment.start)) == pytest.approx(1)


def test_a_segment_of_other_parameters_or_not_finite_is_refused() -> None:
    layout = ParameterLayout(("x",), ((3,),))
    with pytest.raises(UsageError, match=r"target has shape \[4\], the layout \[3\]"):
        MatchingTarget(layout, torch.zeros(3), torch.zeros(4))
    with pytest.raises(UsageError, match="start is not finite"):
        MatchingTarget(layout, torch.full((3,), torch.nan), torch.zeros(3))


def test_how_far_a_loop_moves_is_told_relative_to_the_parameters() -> None:
    start = torch.tensor([3.0, 4.0])
    assert relative_displacement(start, start * 1.5) == pytest.approx(0.5)
