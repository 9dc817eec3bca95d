"""Facility location: rows such that every row is similar to one of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from harness.kit.selection.herding import Track
from harness.kit.selection.kmeans import check_points
from harness_coreset.geometry.embedded import EmbeddedCoreset, Points

_SIMILARITIES_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class FacilityLocation(EmbeddedCoreset):
    """Lazy greedy maximisation of the facility-location function under cosine similarity.

    Work grows with the square of a class's rows; `pool` bounds it. The seed changes nothing.
    """

    def select(self, points: Points, quota: int) -> Tensor:
        return facility_location(points.values, quota, points.track)


def facility_location(points: Tensor, k: int, track: Track = iter) -> Tensor:
    """Indices [k] of points [n, d] in the order they are chosen.

    Greedily maximises sum_i max_{j chosen} (1 + cos(x_i, x_j)) (Mirzasoleiman et al. 2013, eq. 3,
    on similarities). Gains only fall as rows are chosen, so a gain computed earlier bounds the
    present one, and only candidates whose bound exceeds the best gain known are computed again
    (Minoux 1978). Candidates are taken some at a time, so that 16 MiB of similarities are held
    whatever n; in the worst case a step takes O(n^2 d).

    Raises:
        UsageError: k is not in [1, n].
        HarnessError: a point is not finite.
    """
    check_points(points, k)
    units = functional.normalize(points, dim=1)
    at_once = max(1, min(64, _SIMILARITIES_AT_ONCE // len(units)))
    covered = torch.full_like(units[:, 0], -1.0)
    bounds = units @ units.sum(0) + len(units)
    chosen = []
    for _ in track(range(k)):
        newest = _largest_gain(units, covered, bounds, at_once)
        chosen.append(newest)
        covered = torch.maximum(covered, units @ units[newest])
        bounds[newest] = -torch.inf
    return torch.tensor(chosen, device=points.device)


def _largest_gain(units: Tensor, covered: Tensor, bounds: Tensor, at_once: int) -> int:
    """The candidate of largest gain; lowers in place the bounds of those computed on the way.

    Chosen points have the bound minus infinity.
    """
    stale = torch.isfinite(bounds)
    while True:
        largest = int(bounds.argmax())
        if not stale[largest]:
            return largest
        doubtful = bounds.masked_fill(~stale, -torch.inf).topk(min(at_once, int(stale.sum())))
        gains = (units[doubtful.indices] @ units.T - covered).clamp_(min=0).sum(1)
        bounds[doubtful.indices] = gains
        stale[doubtful.indices] = False
