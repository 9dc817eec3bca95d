"""Greedy k-center: always the row farthest from those chosen."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from harness.kit.selection.herding import Track, lifted_columns
from harness.kit.selection.kmeans import check_points
from harness_coreset.geometry.embedded import EmbeddedCoreset, Points


@dataclass(frozen=True)
class KCenter(EmbeddedCoreset):
    """Farthest-point traversal (Gonzalez 1985; Sener and Savarese 2018, algorithm 1).

    It starts at the row nearest to the mean, so the seed changes nothing.
    """

    def select(self, points: Points, quota: int) -> Tensor:
        return k_center(points.values, quota, points.track)


def k_center(points: Tensor, k: int, track: Track = iter) -> Tensor:
    """Indices [k] of points [n, d] in the order they are chosen, O(n k d).

    The first is nearest to the mean, each next one farthest from its nearest chosen point; the
    lowest index among equals. The largest distance to a chosen point is at most twice the least
    possible one.

    Raises:
        UsageError: k is not in [1, n].
        HarnessError: a point is not finite.
    """
    check_points(points, k)
    columns = lifted_columns(points)
    newest = int(columns[-2].argmin())
    chosen = [newest]
    closest = torch.full_like(columns[0], torch.inf)
    for _ in track(range(k - 1)):
        closest = torch.minimum(closest, distances_from(columns[:, newest]) @ columns)
        closest[newest] = -torch.inf
        newest = int(closest.argmax())
        chosen.append(newest)
    return torch.tensor(chosen, device=points.device)


def distances_from(column: Tensor) -> Tensor:
    """What gives squared distances from one lifted point when multiplied with lifted columns."""
    point, norm, one = column[:-2], column[-2:-1], column[-1:]
    return torch.cat([-2 * point, one, norm])
