"""The gradient of an outer loss through the inner loop: unrolled, by adjoints, or approximated.

`unroll` keeps the graph of all steps (Cazenavette et al. 2022, arXiv 2203.11932). `adjoint` keeps
the states alone and pulls the gradient back one step at a time: exact, with the graph of one step
in memory. `tesla` (Cui et al. 2022, arXiv 2211.10586) ignores that a step's inputs move the later
steps: exact for a single step, an approximation for more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from harness.errors import DivergenceError, UsageError
from harness.kit.trajectories.inner_loop.optimizers import InnerState
from harness.kit.trajectories.inner_loop.steps import (
    InnerLoop,
    LearnedTensors,
    twice_differentiable,
)

EngineName = Literal["unroll", "adjoint", "tesla"]
OuterLoss = Callable[[Tensor], Tensor]
"""A differentiable scalar of the inner loop's last parameters [P]."""


@dataclass(frozen=True)
class OuterGradient:
    """What the outer optimiser needs.

    loss: of the loop's end; learned: one gradient for each learned tensor; log_step_size: the
    gradient with respect to rho, the step size being exp(rho) and so always positive.
    """

    loss: float
    learned: dict[str, Tensor]
    log_step_size: float


class Engine(Protocol):
    """Computes the gradient of `outer` at the end of an inner loop."""

    def __call__(
        self,
        loop: InnerLoop,
        start: InnerState,
        learned: LearnedTensors,
        log_step_size: Tensor,
        outer: OuterLoss,
    ) -> OuterGradient:
        """Nothing that is given is changed, nor does any of it need to require a gradient.

        Raises:
            DivergenceError: the loop or the gradient left the finite numbers.
            UsageError: the model or the optimiser is none that the engine can handle.
        """


def unroll(
    loop: InnerLoop,
    start: InnerState,
    learned: LearnedTensors,
    log_step_size: Tensor,
    outer: OuterLoss,
) -> OuterGradient:
    """Exact; memory grows with the number of steps."""
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in learned.items()}
    rho = log_step_size.detach().requires_grad_()
    state = InnerState(tuple(t.detach() for t in start.tensors), start.steps)
    state.theta.requires_grad_()
    with twice_differentiable():
        for number, members in enumerate(loop.batches):
            part = {name: leaf[members] for name, leaf in leaves.items()}
            state = loop.step(state, part, members, rho.exp())
            loop.require_finite(state, number)
        loss = outer(state.theta)
        found = torch.autograd.grad(loss, [*leaves.values(), rho], materialize_grads=True)
    gradients = dict(zip(leaves, found[:-1], strict=True))
    return _checked(OuterGradient(float(loss.detach()), gradients, float(found[-1])))


def adjoint(
    loop: InnerLoop,
    start: InnerState,
    learned: LearnedTensors,
    log_step_size: Tensor,
    outer: OuterLoss,
) -> OuterGradient:
    """Exact; one step's graph, and the parameters and moments of every step."""
    sweep = _Sweep(loop, learned, log_step_size)
    states = sweep.states(start)
    loss, slope = _slope(outer, states[-1].theta)
    rest = [torch.zeros_like(tensor) for tensor in states[-1].tensors[1:]]
    cotangents: tuple[Tensor, ...] = (slope, *rest)
    for number in reversed(range(len(loop.batches))):
        # Nothing is learned of where the loop starts.
        through = number > 0
        cotangents = sweep.back(number, states[number], cotangents, through_state=through)
        states.pop()
    return sweep.result(loss)


def tesla(
    loop: InnerLoop,
    start: InnerState,
    learned: LearnedTensors,
    log_step_size: Tensor,
    outer: OuterLoss,
) -> OuterGradient:
    """Approximate; plain gradient descent only. One step's graph, and every step's parameters.

    Raises:
        UsageError: the optimiser has a memory, for which the approximation is not defined.
    """
    if len(start.tensors) > 1:
        raise UsageError(
            "the engine 'tesla' is defined for plain gradient descent only",
            hint="Use the engine 'adjoint', which is exact and as small.",
        )
    sweep = _Sweep(loop, learned, log_step_size)
    states = sweep.states(start)
    loss, slope = _slope(outer, states[-1].theta)
    for number in range(len(loop.batches)):
        sweep.back(number, states[number], (slope,), through_state=False)
    return sweep.result(loss)


ENGINES: Mapping[EngineName, Engine] = {"unroll": unroll, "adjoint": adjoint, "tesla": tesla}


def disagreement(
    loop: InnerLoop,
    start: InnerState,
    learned: LearnedTensors,
    log_step_size: Tensor,
    outer: OuterLoss,
    engines: tuple[EngineName, EngineName] = ("adjoint", "unroll"),
) -> float:
    """||a - b|| / ||b|| of two engines' gradients, of everything learned and the step size.

    A check at run time: where the step size times the number of steps is large the loop is chaotic,
    and in float32 even exact engines differ.
    """
    given = (loop, start, learned, log_step_size, outer)
    first, second = (_joined(ENGINES[name](*given)) for name in engines)
    return float((first - second).norm() / second.norm().clamp(min=torch.finfo(second.dtype).tiny))


@dataclass
class _Sweep:
    """Collects the gradient while steps are pulled back, one after the other."""

    loop: InnerLoop
    learned: LearnedTensors
    log_step_size: Tensor

    def __post_init__(self) -> None:
        self.step_size = self.log_step_size.detach().exp()
        self._gradients = {name: torch.zeros_like(t) for name, t in self.learned.items()}
        self._rate = torch.zeros_like(self.step_size)

    def states(self, start: InnerState) -> list[InnerState]:
        return self.loop.states(start, self.learned, self.step_size)

    def back(
        self,
        number: int,
        state: InnerState,
        cotangents: tuple[Tensor, ...],
        *,
        through_state: bool,
    ) -> tuple[Tensor, ...]:
        pulled = self.loop.pull_back(
            number, state, self.learned, self.step_size, cotangents, through_state=through_state
        )
        members = self.loop.batches[number]
        for name, gradient in pulled.part.items():
            self._gradients[name].index_add_(0, members, gradient)
        self._rate += pulled.step_size
        return pulled.state

    def result(self, loss: float) -> OuterGradient:
        return _checked(OuterGradient(loss, self._gradients, float(self._rate * self.step_size)))


def _slope(outer: OuterLoss, end: Tensor) -> tuple[float, Tensor]:
    """The outer loss and its gradient with respect to the last parameters."""
    leaf = end.detach().requires_grad_()
    loss = outer(leaf)
    (gradient,) = torch.autograd.grad(loss, leaf)
    return float(loss.detach()), gradient


def _checked(gradient: OuterGradient) -> OuterGradient:
    tensors = [*gradient.learned.values(), torch.tensor([gradient.loss, gradient.log_step_size])]
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors):
        raise DivergenceError(
            "the gradient of the matching loss is not finite",
            hint="Lower the step size, or the number of inner steps.",
        )
    return gradient


def _joined(gradient: OuterGradient) -> Tensor:
    flat = torch.cat([tensor.reshape(-1) for tensor in gradient.learned.values()])
    return torch.cat([flat, flat.new_tensor([gradient.log_step_size])])
