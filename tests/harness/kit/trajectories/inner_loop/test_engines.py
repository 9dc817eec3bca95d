"""Gradients through the inner loop: exact ones agree with each other and with differences."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from trajectory_world import OPTIMIZERS, World, make_world

from harness.errors import DivergenceError, UsageError
from harness.kit.trajectories.inner_loop.engines import (
    ENGINES,
    EngineName,
    adjoint,
    disagreement,
    tesla,
    unroll,
)
from harness.kit.trajectories.inner_loop.inner_losses import LABELS
from harness.kit.trajectories.inner_loop.optimizers import InnerState, Sgd
from harness.kit.trajectories.inner_loop.steps import InnerLoop, LearnedTensors
from harness.kit.trajectories.pseudo_rows import EMBEDDINGS

FOUR_STEPS = ([0, 1, 2], [3, 0], [1, 2, 3], [2, 0, 1])
RATE = torch.tensor(0.3, dtype=torch.float64).log()
EVERY = pytest.mark.parametrize("optimizer", list(OPTIMIZERS))


@pytest.fixture(scope="module")
def world() -> World:
    return make_world()


def given(
    world: World, optimizer: str, batches: Sequence[Sequence[int]] = FOUR_STEPS, soft: bool = False
) -> tuple[Any, ...]:
    """What an engine is called with."""
    rate = RATE - 4 if optimizer == "adam" else RATE
    loop, start = world.loop(optimizer, batches), world.start(optimizer)
    learned = world.learned(soft=soft, noise=0.3)
    return loop, start, learned, rate, world.matching_target().loss("squared")


@pytest.mark.parametrize("soft", [False, True])
@EVERY
def test_the_adjoint_sweep_is_the_unrolled_gradient(
    world: World, optimizer: str, soft: bool
) -> None:
    arguments = given(world, optimizer, soft=soft)
    whole, swept = unroll(*arguments), adjoint(*arguments)
    assert set(swept.learned) == ({EMBEDDINGS, LABELS} if soft else {EMBEDDINGS})
    for name, expected in whole.learned.items():
        assert expected.any()
        assert (swept.learned[name] - expected).norm() < 1e-9 * expected.norm()
    assert swept.log_step_size == pytest.approx(whole.log_step_size, rel=1e-9)
    assert swept.loss == pytest.approx(whole.loss, rel=1e-12)


@EVERY
def test_the_gradient_is_what_a_small_change_of_the_inputs_does(optimizer: str) -> None:
    # GPT-2 computes everything in float64; Llama's norms and positions do not.
    world = make_world("gpt2")
    loop, start, learned, rate, outer = given(world, optimizer, soft=True)
    found = adjoint(loop, start, learned, rate, outer)

    def value(changed: LearnedTensors, rho: Tensor) -> float:
        return float(outer(loop.states(start, changed, rho.exp())[-1].theta))

    draw, step = torch.Generator().manual_seed(0), 1e-5
    for name, tensor in learned.items():
        direction = torch.randn(tensor.shape, generator=draw, dtype=tensor.dtype)
        sides = [
            value({**learned, name: tensor + sign * step * direction}, rate) for sign in (1, -1)
        ]
        slope = (sides[0] - sides[1]) / (2 * step)
        assert float((found.learned[name] * direction).sum()) == pytest.approx(slope, rel=1e-5)
    sides = [value(learned, rate + sign * step) for sign in (1, -1)]
    assert found.log_step_size == pytest.approx((sides[0] - sides[1]) / (2 * step), rel=1e-5)


def test_all_engines_are_equal_for_a_single_step(world: World) -> None:
    arguments = given(world, "sgd", batches=([0, 2, 3],), soft=True)
    expected = unroll(*arguments)
    for engine in ENGINES.values():
        found = engine(*arguments)
        assert found.log_step_size == pytest.approx(expected.log_step_size, rel=1e-9)
        for name, gradient in expected.learned.items():
            torch.testing.assert_close(found.learned[name], gradient)


def test_teslas_gradient_is_its_own_formula_and_an_approximation(world: World) -> None:
    loop, start, learned, rate, outer = given(world, "sgd")
    segment, alpha = world.matching_target(), float(rate.exp())
    found = tesla(loop, start, learned, rate, outer)

    scale = (segment.target - segment.start).square().sum()
    states = loop.states(start, learned, rate.exp())
    leaf = learned[EMBEDDINGS].clone().requires_grad_()
    slopes = []
    for state, members in zip(states, loop.batches, strict=False):
        theta = state.theta.clone().requires_grad_()
        loss = world.loss(theta, {EMBEDDINGS: leaf[members]}, members)
        slopes.append(torch.autograd.grad(loss, theta, create_graph=True)[0])
    total = torch.stack(slopes).sum(0).detach()
    pull = alpha * (segment.target - segment.start) + alpha**2 * total
    expected = torch.zeros_like(leaf)
    for slope in slopes:
        expected += (2 / scale) * torch.autograd.grad(pull @ slope, leaf)[0]
    torch.testing.assert_close(found.learned[EMBEDDINGS], expected)

    exact = unroll(loop, start, learned, rate, outer).learned[EMBEDDINGS]
    assert (expected - exact).norm() > 1e-3 * exact.norm()


@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_tesla_refuses_an_optimiser_with_a_memory(world: World, optimizer: str) -> None:
    with pytest.raises(UsageError, match="plain gradient descent only"):
        tesla(*given(world, optimizer))


@pytest.mark.parametrize("engine", list(ENGINES))
def test_examples_in_no_batch_get_no_gradient(world: World, engine: EngineName) -> None:
    found = ENGINES[engine](*given(world, "sgd", batches=([0, 2], [2, 0])))
    gradient = found.learned[EMBEDDINGS]
    assert gradient[[0, 2]].any()
    assert not gradient[[1, 3]].any()


@pytest.mark.parametrize("engine", list(ENGINES))
def test_an_example_that_stands_twice_in_a_batch_counts_twice(
    world: World, engine: EngineName
) -> None:
    found = ENGINES[engine](*given(world, "sgd", batches=([1, 1, 2],)))
    leaf = world.learned(noise=0.3)[EMBEDDINGS].requires_grad_()
    theta = world.view.start().requires_grad_()
    members = torch.tensor([1, 1, 2])
    loss = world.loss(theta, {EMBEDDINGS: leaf[members]}, members)
    (slope,) = torch.autograd.grad(loss, theta, create_graph=True)
    outer = world.matching_target().loss("squared")(theta - RATE.exp() * slope)
    torch.testing.assert_close(found.learned[EMBEDDINGS], torch.autograd.grad(outer, leaf)[0])


def test_adam_without_a_memory_gives_finite_gradients_where_no_gradient_arrives() -> None:
    world = make_world(trained=False)
    loop = world.loop("adam", FOUR_STEPS)
    start = OPTIMIZERS["adam"].begin(world.view.start())
    arguments = (
        loop,
        start,
        world.learned(noise=0.3),
        RATE - 6,
        world.matching_target().loss("squared"),
    )
    found = adjoint(*arguments)
    assert torch.isfinite(found.learned[EMBEDDINGS]).all()
    assert disagreement(*arguments) < 1e-9


def test_the_disagreement_of_exact_engines_is_rounding_and_teslas_is_not(world: World) -> None:
    arguments = given(world, "sgd")
    assert disagreement(*arguments) < 1e-9
    assert disagreement(*arguments, engines=("tesla", "unroll")) > 1e-3


@pytest.mark.parametrize("engine", list(ENGINES))
def test_a_diverging_loop_is_stopped_and_says_where(engine: EngineName) -> None:
    world = make_world(dtype=torch.float32)
    loop, start = world.loop("sgd", FOUR_STEPS), world.start("sgd")
    outer = world.matching_target().loss("squared")
    with pytest.raises(DivergenceError, match=r"diverged in step \d of 4"):
        ENGINES[engine](loop, start, world.learned(), torch.tensor(88.0), outer)


def test_an_operation_without_second_derivative_is_named() -> None:
    def fused(flat: Tensor, part: LearnedTensors, members: Tensor) -> Tensor:
        """Attention by the kernel that is the default on a CPU."""
        query = (flat * part["x"]).view(1, 1, 4, 8)
        return scaled_dot_product_attention(query, query, query).square().sum()

    loop = InnerLoop(fused, Sgd(), [torch.tensor([0])])
    start, learned = InnerState((torch.ones(32),)), {"x": torch.ones(1, 32)}
    for engine in ENGINES.values():
        with pytest.raises(UsageError, match="no second derivative"):
            engine(loop, start, learned, torch.tensor(0.0), lambda end: end.sum())


def test_a_loop_without_steps_or_with_an_empty_step_is_refused(world: World) -> None:
    for batches in ((), ([],)):
        with pytest.raises(UsageError, match="at least one step"):
            world.loop("sgd", batches)


def test_only_the_unrolled_graph_grows_with_the_number_of_steps(world: World) -> None:
    def peak(engine: EngineName, steps: int) -> int:
        arguments = given(world, "sgd", batches=([0, 1, 2, 3],) * steps)
        return most_saved(lambda: ENGINES[engine](*arguments))

    assert peak("unroll", 4) > 1.7 * peak("unroll", 2)
    assert peak("adjoint", 4) == peak("adjoint", 2)
    assert peak("tesla", 4) == peak("tesla", 2)


def most_saved(run: Callable[[], object]) -> int:
    """The most bytes that graphs hold at once while something runs."""
    now = most = 0

    class Held:
        def __init__(self, tensor: Tensor) -> None:
            nonlocal now, most
            self.tensor = tensor
            now += tensor.nbytes
            most = max(most, now)

        def __del__(self) -> None:
            nonlocal now
            now -= self.tensor.nbytes

    gc.collect()
    with torch.autograd.graph.saved_tensors_hooks(Held, lambda held: held.tensor):
        run()
    return most
