"""Herding: rows whose mean follows the mean of all rows."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from harness.kit.selection.herding import herding
from harness_coreset.geometry.embedded import EmbeddedCoreset, Points


@dataclass(frozen=True)
class Herding(EmbeddedCoreset):
    """Greedy herding without replacement (Welling 2009); the seed changes nothing."""

    def select(self, points: Points, quota: int) -> Tensor:
        return herding(points.values, quota, points.track)
