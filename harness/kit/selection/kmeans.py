"""k-means with k-means++ seeding, and the distinct points nearest to centroids."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.errors import HarnessError, UsageError

_BLOCK_VALUES = 1 << 22
"""Distances held at once: 16 MiB in float32."""


@dataclass(frozen=True)
class KMeansResult:
    """A clustering.

    centroids: [k, d]; assignments: [n] the nearest centroid of each point; inertia: sum of
    squared distances between the points and their centroids; iterations: centroid updates done.
    A cluster is empty only when there are fewer than k distinct points, or when the updates
    ran out before its centroid was placed.
    """

    centroids: Tensor
    assignments: Tensor
    inertia: float
    iterations: int


def kmeans(
    points: Tensor,
    k: int,
    generator: torch.Generator,
    *,
    restarts: int = 1,
    iterations: int = 100,
    tolerance: float = 1e-4,
) -> KMeansResult:
    """The clustering of least inertia among `restarts` runs of Lloyd's algorithm.

    Args:
        points: [n, d], on any device, where the result will be too.
        generator: a CPU generator, so that draws agree on every device.
        iterations: most centroid updates in a run.
        tolerance: see `lloyd`.

    Raises:
        UsageError: k is not in [1, n], or there is no restart.
        HarnessError: a point is not finite.
    """
    if restarts < 1:
        raise UsageError(f"k-means needs at least one restart, got {restarts}")
    check_points(points, k)
    runs = (
        lloyd(points, plus_plus(points, k, generator), iterations=iterations, tolerance=tolerance)
        for _ in range(restarts)
    )
    return min(runs, key=lambda run: run.inertia)


def plus_plus(points: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """Initial centroids [k, d]: greedy k-means++ (Arthur and Vassilvitskii 2007, section 2.2).

    Each next centroid is the best of 2 + ln(k) points drawn with probability proportional to
    the squared distance to the nearest centroid so far: the one that lowers the sum of these
    distances most. When every point lies on a centroid, points are drawn uniformly.
    """
    trials = 2 + int(math.log(k))
    norms = points.square().sum(1)
    first = int(torch.randint(len(points), (1,), generator=generator))
    chosen = [first]
    closest = _squared_distances(points, norms, points[[first]]).flatten()
    for _ in range(1, k):
        candidates = _draw(closest, trials, generator)
        distances = _squared_distances(points, norms, points[candidates])
        distances = torch.minimum(distances, closest.unsqueeze(1))
        best = int(distances.sum(0).argmin())
        chosen.append(int(candidates[best]))
        closest = distances[:, best].contiguous()
    return points[chosen].clone()


def lloyd(
    points: Tensor, centroids: Tensor, *, iterations: int = 100, tolerance: float = 1e-4
) -> KMeansResult:
    """Lloyd's algorithm (1982) from given centroids [k, d].

    It ends when no assignment changes, or when the centroids' squared shifts sum to no more
    than `tolerance` times the mean variance of a coordinate. A centroid that no point is
    nearest to moves to the point farthest from its own centroid.
    """
    centre = points.mean(0)
    shifted, current = points - centre, centroids - centre
    norms = shifted.square().sum(1)
    threshold = tolerance * float(norms.mean()) / points.shape[1]
    assignments, done = _assign(shifted, norms, current), 0
    while done < iterations:
        done += 1
        updated = _means(shifted, assignments, current)
        shift = float((updated - current).square().sum())
        current, previous = updated, assignments
        assignments = _assign(shifted, norms, current)
        if torch.equal(assignments, previous) or shift <= threshold:
            break
    inertia = float((shifted - current[assignments]).square().sum(dtype=torch.float64))
    return KMeansResult(current + centre, assignments, inertia, done)


def nearest_to_centroids(points: Tensor, centroids: Tensor) -> Tensor:
    """A different point for each centroid: indices [k] into `points` [n, d].

    Centroids choose in the order of the distance to their nearest point, and take the nearest
    one that is free; the lowest index among equals.

    Raises:
        UsageError: more centroids than points.
        HarnessError: a point is not finite.
    """
    check_points(points, len(centroids))
    centre = points.mean(0)
    points, centroids = points - centre, centroids - centre
    norms = points.square().sum(1)
    distances, wanted = nearest(centroids, points)
    taken = torch.zeros(len(points), dtype=torch.bool, device=points.device)
    chosen = torch.empty_like(wanted)
    for centroid in torch.argsort(distances, stable=True).tolist():
        point = wanted[centroid]
        if taken[point]:
            to_all = _squared_distances(points, norms, centroids[[centroid]]).flatten()
            point = to_all.masked_fill(taken, torch.inf).argmin()
        taken[point] = True
        chosen[centroid] = point
    return chosen


def nearest(points: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """For each point [n, d] the squared distance to the nearest of `others` [m, d], and which.

    Computed block by block, so that the [n, m] distances are never held at once.
    """
    return _nearest(points, points.square().sum(1), others)


def check_points(points: Tensor, k: int) -> None:
    """Refuses points that cannot be clustered or chosen from.

    Raises:
        UsageError: k is not in [1, n].
        HarnessError: a value is NaN or infinite.
    """
    if not 1 <= k <= len(points):
        raise UsageError(f"{k} of {len(points)} points cannot be chosen")
    finite = torch.isfinite(points).all(1)
    if not finite.all():
        bad = int((~finite).sum())
        raise HarnessError(
            f"{bad} of {len(points)} embeddings hold NaN or infinity, the first is row"
            f" {int((~finite).int().argmax())}",
            hint="The encoder overflowed on these rows; try another proxy or embedding.",
        )


def _nearest(points: Tensor, norms: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """`nearest`, for points whose squared norms [n] are known."""
    least = torch.empty_like(norms)
    indices = torch.empty(len(points), dtype=torch.int64, device=points.device)
    their_norms = others.square().sum(1)
    for block in _blocks(len(points), len(others)):
        products = torch.addmm(their_norms, points[block], others.T, alpha=-2)
        torch.min(products, 1, out=(least[block], indices[block]))
    return least.add_(norms).clamp_(min=0), indices


def _assign(points: Tensor, norms: Tensor, centroids: Tensor) -> Tensor:
    """[n] the nearest centroid; moves, in place, centroids that would have no point."""
    distances, assignments = _nearest(points, norms, centroids)
    counts = torch.bincount(assignments, minlength=len(centroids))
    for empty in torch.nonzero(counts == 0).flatten().tolist():
        farthest = int(distances.argmax())
        if distances[farthest] <= 0:
            break
        centroids[empty] = points[farthest]
        moved = (points - centroids[empty]).square().sum(1)
        assignments = torch.where(moved < distances, empty, assignments)
        distances = torch.minimum(distances, moved)
    return assignments


def _means(points: Tensor, assignments: Tensor, previous: Tensor) -> Tensor:
    """[k, d] the mean of each cluster; an empty one keeps its previous centroid."""
    counts = torch.bincount(assignments, minlength=len(previous)).unsqueeze(1)
    sums = torch.zeros_like(previous).index_add_(0, assignments, points)
    return torch.where(counts > 0, sums / counts.clamp(min=1), previous)


def _draw(weights: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """`count` indices drawn in proportion to non-negative weights; uniformly when all are 0."""
    cumulative = weights.double().cumsum(0)
    if cumulative[-1] <= 0:
        return torch.randint(len(weights), (count,), generator=generator).to(weights.device)
    uniform = torch.rand(count, generator=generator, dtype=torch.float64).to(weights.device)
    found = torch.searchsorted(cumulative, uniform * cumulative[-1], right=True)
    return found.clamp_(max=len(weights) - 1)


def _squared_distances(points: Tensor, norms: Tensor, others: Tensor) -> Tensor:
    """[n, m] squared distances of points [n, d], whose squared norms are [n], to `others`."""
    distances = torch.addmm(others.square().sum(1), points, others.T, alpha=-2)
    return distances.add_(norms.unsqueeze(1)).clamp_(min=0)


def _blocks(rows: int, columns: int) -> Iterator[slice]:
    """Slices of `rows` such that a block of `columns` each holds about `_BLOCK_VALUES`."""
    size = max(1, _BLOCK_VALUES // max(1, columns))
    return (slice(start, start + size) for start in range(0, rows, size))
