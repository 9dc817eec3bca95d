"""The update rules against those of torch, from the start and from an optimiser's memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from harness.errors import UsageError
from harness.kit.trajectories.inner_loop.optimizers import Adam, InnerOptimizer, InnerState, Sgd

RATE = 0.05
Build = Callable[[list[nn.Parameter]], torch.optim.Optimizer]
PAIRS: dict[str, tuple[InnerOptimizer, Build]] = {
    "sgd": (Sgd(), lambda p: torch.optim.SGD(p, RATE)),
    "momentum": (Sgd(0.8), lambda p: torch.optim.SGD(p, RATE, momentum=0.8)),
    "adam": (
        Adam(0.8, 0.95, 1e-3),
        lambda p: torch.optim.Adam(p, RATE, betas=(0.8, 0.95), eps=1e-3),
    ),
}


def gradients(count: int) -> list[Tensor]:
    draw = torch.Generator().manual_seed(0)
    return [torch.randn(6, generator=draw, dtype=torch.float64) for _ in range(count)]


@pytest.mark.parametrize("name", list(PAIRS))
def test_steps_are_those_of_torch(name: str) -> None:
    ours, build = PAIRS[name]
    parameter = nn.Parameter(torch.ones(6, dtype=torch.float64))
    theirs = build([parameter])
    state = ours.begin(parameter.detach().clone())
    for gradient in gradients(5):
        parameter.grad = gradient.clone()
        theirs.step()
        state = ours.update(state, gradient, torch.tensor(RATE, dtype=torch.float64))
    torch.testing.assert_close(state.theta, parameter.detach())


def test_adam_goes_on_from_the_memory_of_torchs() -> None:
    ours, build = PAIRS["adam"]
    assert isinstance(ours, Adam)
    parameter = nn.Parameter(torch.ones(6, dtype=torch.float64))
    theirs = build([parameter])
    early, late = gradients(6)[:4], gradients(6)[4:]
    for gradient in early:
        parameter.grad = gradient.clone()
        theirs.step()
    memory = theirs.state[parameter]
    moments = memory["exp_avg"].clone(), memory["exp_avg_sq"].clone()
    state = ours.resume(parameter.detach().clone(), *moments, steps=int(memory["step"]))
    for gradient in late:
        parameter.grad = gradient.clone()
        theirs.step()
        state = ours.update(state, gradient, torch.tensor(RATE, dtype=torch.float64))
    torch.testing.assert_close(state.theta, parameter.detach())


def test_adams_step_of_a_zero_gradient_with_no_memory_has_a_finite_derivative() -> None:
    gradient = torch.zeros(3, requires_grad=True)
    state = Adam().update(Adam().begin(torch.ones(3)), gradient, torch.tensor(RATE))
    (slope,) = torch.autograd.grad(state.theta.sum(), gradient)
    assert torch.isfinite(slope).all()


def test_a_memory_that_is_not_adams_is_refused() -> None:
    theta = torch.ones(3)
    with pytest.raises(UsageError, match=r"parameters \[3\] with moments \[2\]"):
        Adam().resume(theta, torch.ones(2), torch.ones(3), 1)
    with pytest.raises(UsageError, match="negative second moment"):
        Adam().resume(theta, torch.ones(3), -torch.ones(3), 1)


def test_momentum_goes_on_from_a_velocity() -> None:
    early, late = gradients(2)
    rate = torch.tensor(RATE, dtype=torch.float64)
    whole = Sgd(0.8).update(Sgd(0.8).begin(torch.ones(6).double()), early, rate)
    resumed = Sgd(0.8).resume(*whole.tensors, steps=1)
    torch.testing.assert_close(
        Sgd(0.8).update(resumed, late, rate).theta, Sgd(0.8).update(whole, late, rate).theta
    )
    with pytest.raises(UsageError, match="momentum 0"):
        Sgd().resume(torch.ones(3), torch.ones(3), 1)


@pytest.mark.parametrize("build", [lambda: Sgd(1.0), lambda: Sgd(-0.1), lambda: Adam(eps=0.0)])
def test_settings_that_no_optimiser_has_are_refused(build: Callable[[], object]) -> None:
    with pytest.raises(UsageError):
        build()


def test_plain_descent_has_no_memory() -> None:
    state: InnerState = Sgd().begin(torch.ones(2))
    assert len(state.tensors) == 1
