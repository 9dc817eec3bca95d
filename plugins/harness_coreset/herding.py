"""Herding: rows whose mean follows the mean of all rows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from harness.kit.kmeans import check_points
from harness_coreset.embedded import EmbeddedCoreset, Points, lifted_columns
from harness_coreset.groups import Track


@dataclass(frozen=True)
class Herding(EmbeddedCoreset):
    """Greedy herding without replacement (Welling 2009); the seed changes nothing."""

    def select(self, points: Points, quota: int) -> Tensor:
        return herding(points.values, quota, points.track)


def herding(points: Tensor, k: int, track: Track = iter) -> Tensor:
    """Indices [k] of points [n, d] in the order they are chosen, O(n k d).

    Point i + 1 is the free one that minimises || S + x - (i + 1) mean ||, S the sum of those
    chosen; the lowest index among equals. With centred points x' and their running sum S' this
    is the least |x'|^2 + 2 x' S', one product of a matrix and a vector a step.

    Raises:
        UsageError: k is not in [1, n].
        HarnessError: a point is not finite.
    """
    check_points(points, k)
    columns = lifted_columns(points)
    doubled_sum = torch.zeros_like(columns[:, 0])
    doubled_sum[-2] = 1
    chosen = []
    for _ in track(range(k)):
        newest = int((doubled_sum @ columns).argmin())
        chosen.append(newest)
        doubled_sum[:-2] += 2 * columns[:-2, newest]
        columns[-2, newest] = torch.inf
    return torch.tensor(chosen, device=points.device)
