"""The outer optimiser: Adam on what is learned, one tensor and its moments at a time."""

from __future__ import annotations

from torch import Tensor

from harness.kit.trajectories.inner_loop.optimizers import Adam

_ADAM = Adam(0.9, 0.999, 1e-12)


def adam_step(
    leaf: Tensor, gradient: Tensor, moments: tuple[Tensor, Tensor], step: int, rate: float
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """One step of Adam and its moments after it; a gradient of zero moves nothing.

    moments: the first and the second, zero at first; step: counted from 1.
    """
    state = _ADAM.resume(leaf, *moments, steps=step - 1)
    moved, first, second = _ADAM.update(state, gradient, leaf.new_tensor(rate)).tensors
    return moved, (first, second)
