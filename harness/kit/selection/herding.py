"""Herding: points whose running mean follows the mean of all points."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from harness.kit.selection.kmeans import check_points

Track = Callable[[Iterable[int]], Iterable[int]]
"""Shows progress over a loop, `iter` for none."""


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


def lifted_columns(points: Tensor) -> Tensor:
    """For each of n points [n, d] a column (x, |x|^2, 1), x the point minus the mean: [d + 2, n].

    An expression a.x + b |x|^2 + c of all points, such as a squared distance, is then one product
    of a vector and a matrix; on a CPU this layout takes a third of the time of a product with
    rows. Centring keeps what it gives precise.
    """
    centred = points - points.mean(0)
    norms = centred.square().sum(1)
    return torch.cat([centred.T, norms.unsqueeze(0), torch.ones_like(norms).unsqueeze(0)])
