"""The inner loop: training steps on synthetic data, forwards, and backwards through one step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from harness.errors import DivergenceError, UsageError
from harness.kit.training.batching import sample_batches
from harness.kit.trajectories.inner_loop.optimizers import InnerOptimizer, InnerState

LearnedTensors = Mapping[str, Tensor]
"""What is learned, by name; the first axis of each tensor counts the synthetic examples."""


class InnerLoss(Protocol):
    """The mean loss of some synthetic examples."""

    def __call__(self, flat: Tensor, part: LearnedTensors, members: Tensor) -> Tensor:
        """A scalar, twice differentiable in `flat` [P] and in `part`.

        part: the rows `members` of what is learned.
        """


@dataclass(frozen=True)
class StepGradients:
    """A gradient behind one step: of the state before it, the batch's rows, and the step size."""

    state: tuple[Tensor, ...]
    part: dict[str, Tensor]
    step_size: Tensor


@dataclass(frozen=True)
class InnerLoop:
    """One update for each batch, in their order.

    batches: the examples of every step, each a vector of positions.
    """

    loss: InnerLoss
    optimizer: InnerOptimizer
    batches: Sequence[Tensor]

    def __post_init__(self) -> None:
        if not self.batches or any(len(batch) == 0 for batch in self.batches):
            raise UsageError("an inner loop needs at least one step, and each step an example")

    @classmethod
    def shuffled(
        cls,
        loss: InnerLoss,
        optimizer: InnerOptimizer,
        rows: int,
        size: int,
        steps: int,
        generator: np.random.Generator,
        device: torch.device,
    ) -> InnerLoop:
        """`steps` updates on `size` of `rows` examples, each seen equally often, no batch short.

        size: 0 takes all examples in every step.
        """
        batches = sample_batches(rows, size or rows, steps, generator)
        return cls(loss, optimizer, [torch.from_numpy(batch).to(device) for batch in batches])

    def states(
        self, start: InnerState, learned: LearnedTensors, step_size: Tensor
    ) -> list[InnerState]:
        """The N + 1 states of the loop, without a graph.

        Raises:
            DivergenceError: the parameters left the finite numbers; says in which step.
        """
        found = [InnerState(tuple(t.detach() for t in start.tensors), start.steps)]
        rate = step_size.detach()
        for number, members in enumerate(self.batches):
            part = {name: tensor.detach()[members] for name, tensor in learned.items()}
            theta = found[-1].theta.requires_grad_()
            (gradient,) = torch.autograd.grad(self.loss(theta, part, members), theta)
            theta.requires_grad_(False)
            found.append(self.optimizer.update(found[-1], gradient, rate))
            self.require_finite(found[-1], number)
        return found

    def step(
        self, state: InnerState, part: LearnedTensors, members: Tensor, step_size: Tensor
    ) -> InnerState:
        """One update with its graph; `state.theta` must require a gradient."""
        loss = self.loss(state.theta, part, members)
        (gradient,) = torch.autograd.grad(loss, state.theta, create_graph=True)
        return self.optimizer.update(state, gradient, step_size)

    def pull_back(
        self,
        number: int,
        state: InnerState,
        learned: LearnedTensors,
        step_size: Tensor,
        cotangents: Sequence[Tensor],
        *,
        through_state: bool = True,
    ) -> StepGradients:
        """Takes a gradient with respect to the state after step `number` to before it.

        Args:
            state: before the step; cotangents: the gradient, one tensor for each of the state's.
            through_state: without it no gradient of the state is computed, and none is returned.

        Raises:
            UsageError: an operation of the model has no second derivative.
        """
        members = self.batches[number]
        part = {name: t.detach()[members].requires_grad_() for name, t in learned.items()}
        leaves = InnerState(tuple(t.detach().requires_grad_() for t in state.tensors), state.steps)
        rate = step_size.detach().requires_grad_()
        wanted = [*(leaves.tensors if through_state else ()), *part.values(), rate]
        with twice_differentiable():
            after = self.step(leaves, part, members, rate)
            found = torch.autograd.grad(
                after.tensors, wanted, tuple(cotangents), materialize_grads=True
            )
        kept = len(leaves.tensors) if through_state else 0
        inner = dict(zip(part, found[kept:-1], strict=True))
        return StepGradients(found[:kept], inner, found[-1])

    def require_finite(self, state: InnerState, number: int) -> None:
        """Raises DivergenceError when a parameter is not finite after step `number`."""
        if not bool(torch.isfinite(state.theta).all()):
            raise DivergenceError(
                f"the inner loop diverged in step {number + 1} of {len(self.batches)}",
                hint="Lower the step size, or the number of inner steps.",
            )


@contextmanager
def twice_differentiable() -> Iterator[None]:
    """Names what is wrong when a fused operation has no second derivative."""
    try:
        yield
    except (RuntimeError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        if "not implemented" not in reason and "not differentiable" not in reason:
            raise
        raise UsageError(
            f"an operation of the model has no second derivative: {reason}",
            hint="Load the model with attn_implementation='eager', without fused kernels.",
        ) from error
