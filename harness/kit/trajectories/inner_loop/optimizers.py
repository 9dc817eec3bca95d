"""Update rules of the inner loop as differentiable functions of state, gradient and step size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from harness.errors import UsageError
from harness.options import Positive, ShareBelowOne, require_fields


@dataclass(frozen=True)
class InnerState:
    """Where the inner loop stands: parameters [P], then the optimiser's memory of them, each [P].

    steps: updates that the memory has seen.
    """

    tensors: tuple[Tensor, ...]
    steps: int = 0

    @property
    def theta(self) -> Tensor:
        return self.tensors[0]


class InnerOptimizer(Protocol):
    """How one gradient changes a state."""

    def begin(self, theta: Tensor) -> InnerState:
        """The state before any update."""

    def update(self, state: InnerState, gradient: Tensor, step_size: Tensor) -> InnerState:
        """The state after one more, a differentiable function of all three."""


@dataclass(frozen=True)
class Sgd:
    """u <- momentum u + g, theta <- theta - step_size u, as `torch.optim.SGD`; u only if needed."""

    momentum: ShareBelowOne = 0.0

    def __post_init__(self) -> None:
        require_fields(self, where="sgd")

    def begin(self, theta: Tensor) -> InnerState:
        return InnerState((theta, torch.zeros_like(theta)) if self.momentum else (theta,))

    def resume(self, theta: Tensor, velocity: Tensor, steps: int) -> InnerState:
        """The state of an optimiser with momentum whose u is `velocity`.

        Raises:
            UsageError: shapes differ, or there is no momentum to resume.
        """
        if not self.momentum or theta.shape != velocity.shape:
            raise UsageError(
                f"parameters {list(theta.shape)} with a velocity {list(velocity.shape)} and"
                f" momentum {self.momentum:g}"
            )
        return InnerState((theta, velocity), steps)

    def update(self, state: InnerState, gradient: Tensor, step_size: Tensor) -> InnerState:
        theta, *memory = state.tensors
        if not memory:
            return InnerState((theta - step_size * gradient,), state.steps + 1)
        velocity = self.momentum * memory[0] + gradient
        return InnerState((theta - step_size * velocity, velocity), state.steps + 1)


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba 2015) as `torch.optim.Adam`, eps added to the corrected root.

    Started from an expert's moments it takes the expert's own next step. From moments of zero its
    first steps are signs, which tell little of the gradient and have huge derivatives near zero.
    """

    beta1: ShareBelowOne = 0.9
    beta2: ShareBelowOne = 0.999
    eps: Positive = 1e-8

    def __post_init__(self) -> None:
        require_fields(self, where="adam")

    def begin(self, theta: Tensor) -> InnerState:
        return InnerState((theta, torch.zeros_like(theta), torch.zeros_like(theta)))

    def resume(self, theta: Tensor, first: Tensor, second: Tensor, steps: int) -> InnerState:
        """The state of an optimiser that has moments, uncorrected, of `steps` updates.

        Raises:
            UsageError: shapes differ, a second moment is negative, or `steps` is.
        """
        if not theta.shape == first.shape == second.shape:
            raise UsageError(
                f"parameters {list(theta.shape)} with moments {list(first.shape)} and"
                f" {list(second.shape)}"
            )
        if steps < 0 or bool((second < 0).any()):
            raise UsageError("a negative second moment or number of steps is none of Adam's")
        return InnerState((theta, first, second), steps)

    def update(self, state: InnerState, gradient: Tensor, step_size: Tensor) -> InnerState:
        theta, first, second = state.tensors
        steps = state.steps + 1
        first = self.beta1 * first + (1 - self.beta1) * gradient
        second = self.beta2 * second + (1 - self.beta2) * gradient.square()
        root = _root(second / (1 - self.beta2**steps))
        moved = theta - step_size * first / (1 - self.beta1**steps) / (root + self.eps)
        return InnerState((moved, first, second), steps)


def _root(values: Tensor) -> Tensor:
    """The square root, whose derivative at zero is zero rather than infinite.

    Before any training no gradient reaches an adapter's first matrix, so its moments are zero.
    """
    positive = values > 0
    return torch.where(positive, values, 1.0).sqrt() * positive
