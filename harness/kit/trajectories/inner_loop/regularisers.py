"""Penalties that keep learned embeddings near token embeddings, and their weight."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from harness.errors import UsageError

ScheduleName = Literal["constant", "linear", "cosine"]


def neighbour_penalty(embeddings: Tensor, neighbours: Tensor) -> Tensor:
    """mean_k ||e_k - stop_gradient(W_nn(k))||^2.

    Args:
        embeddings: [k, d] the learned vectors; neighbours: [k, d] the nearest allowed row of each,
            which may be of a few outer steps ago.
    """
    return (embeddings - neighbours.detach()).square().sum(1).mean()


def norm_penalty(embeddings: Tensor, typical: Tensor) -> Tensor:
    """mean_k (||e_k|| / typical - 1)^2: as long as a word's vector, in whatever direction.

    Args:
        embeddings: [k, d]; typical: the mean length of the allowed rows, a scalar.
    """
    tiny = torch.finfo(embeddings.dtype).tiny
    lengths = (embeddings.square().sum(1) + tiny).sqrt()
    return (lengths / typical - 1).square().mean()


@dataclass(frozen=True)
class RegulariserWeight:
    """The weight lambda of a regulariser over the outer steps.

    peak: its largest value; schedule: `constant`, or rising from 0 to the peak as a line or as
    half a cosine wave.
    """

    peak: float
    schedule: ScheduleName = "linear"

    def __post_init__(self) -> None:
        if not self.peak >= 0 or not math.isfinite(self.peak):
            raise UsageError(f"a regulariser's weight should be 0 or more, got {self.peak:g}")

    def at(self, step: int, steps: int) -> float:
        """lambda of outer step `step`, counted from 0, of `steps`."""
        if self.schedule == "constant":
            return self.peak
        done = step / max(1, steps - 1)
        return self.peak * (
            done if self.schedule == "linear" else (1 - math.cos(math.pi * done)) / 2
        )
