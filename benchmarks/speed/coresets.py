"""Times herding, k-center and k-means on 50,000 x 384 against NumPy loops and scikit-learn.

All contenders get the same points, number of threads and, for k-means, initial centroids and
updates; that they choose the same rows, or reach the same inertia, is checked in the same run.
Contenders alternate, so that other work on the machine falls on all of them:

    python benchmarks/speed/coresets.py
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.cluster import KMeans, kmeans_plusplus
from threadpoolctl import threadpool_limits

from harness.kit.selection.herding import herding
from harness.kit.selection.kmeans import lloyd, plus_plus
from harness_coreset.geometry.k_center import k_center

Solve = Callable[[], tuple[np.ndarray, float]]


@dataclass(frozen=True)
class Contest:
    """One problem and two ways to solve it, each giving the rows chosen and an objective."""

    name: str
    ours: Solve
    theirs: Solve
    peer: str


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    points = _points(options.rows, options.columns)
    print(
        f"{options.rows} x {options.columns}, k = {options.k}, {options.threads} threads,"
        f" torch {torch.__version__}; medians of {options.repeats}"
    )
    print(f"{'':22}{'harness s':>11}{'peer s':>9}{'ratio':>8}   peer, agreement")
    with threadpool_limits(options.threads):
        for contest in _contests(points, options.k, options.updates):
            print(_line(contest, options.repeats), flush=True)


def _contests(points: np.ndarray, k: int, updates: int) -> list[Contest]:
    tensor = torch.from_numpy(points)
    start = points[np.random.default_rng(1).choice(len(points), k, replace=False)]

    def our_lloyd() -> tuple[np.ndarray, float]:
        found = lloyd(tensor, torch.from_numpy(start), iterations=updates, tolerance=0.0)
        return found.assignments.numpy(), found.inertia

    def their_lloyd() -> tuple[np.ndarray, float]:
        found = KMeans(k, init=start, n_init=1, max_iter=updates, tol=0.0).fit(points)
        return found.labels_, float(found.inertia_)

    def our_seeding() -> tuple[np.ndarray, float]:
        chosen = plus_plus(tensor, k, torch.Generator().manual_seed(0))
        return np.zeros(0), _potential(points, chosen.numpy())

    def their_seeding() -> tuple[np.ndarray, float]:
        chosen, _ = kmeans_plusplus(points, k, random_state=0)
        return np.zeros(0), _potential(points, chosen)

    return [
        Contest(
            "herding", lambda: (herding(tensor, k).numpy(), 0.0),
            lambda: (herding_loop(points, k), 0.0), "NumPy loop",
        ),
        Contest(
            "k-center", lambda: (k_center(tensor, k).numpy(), 0.0),
            lambda: (k_center_loop(points, k), 0.0), "NumPy loop",
        ),
        Contest(f"k-means, {updates} updates", our_lloyd, their_lloyd, "scikit-learn"),
        Contest("k-means++ seeding", our_seeding, their_seeding, "scikit-learn"),
    ]  # fmt: skip


def herding_loop(points: np.ndarray, k: int) -> np.ndarray:
    """Herding as its definition reads."""
    mean, total = points.mean(0), np.zeros_like(points[0])
    free = np.ones(len(points), dtype=bool)
    chosen = []
    for step in range(1, k + 1):
        gaps = np.linalg.norm(total + points - step * mean, axis=1)
        newest = int(np.where(free, gaps, np.inf).argmin())
        free[newest] = False
        chosen.append(newest)
        total = total + points[newest]
    return np.array(chosen)


def k_center_loop(points: np.ndarray, k: int) -> np.ndarray:
    """Farthest-point traversal as its definition reads."""
    newest = int(np.linalg.norm(points - points.mean(0), axis=1).argmin())
    chosen, closest = [newest], np.full(len(points), np.inf)
    while len(chosen) < k:
        closest = np.minimum(closest, np.linalg.norm(points - points[newest], axis=1))
        newest = int(closest.argmax())
        chosen.append(newest)
    return np.array(chosen)


def _line(contest: Contest, repeats: int) -> str:
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(repeats):
        our_seconds, our_result = _timed(contest.ours)
        their_seconds, their_result = _timed(contest.theirs)
        ours.append(our_seconds)
        theirs.append(their_seconds)
        print(f"{contest.name}: {our_seconds:.2f} s, {their_seconds:.2f} s", file=sys.stderr)
    mine, peer = statistics.median(ours), statistics.median(theirs)
    return (
        f"{contest.name:22}{mine:11.2f}{peer:9.2f}{peer / mine:7.1f}x   {contest.peer},"
        f" {_agreement(our_result, their_result)}"
    )


def _agreement(ours: tuple[np.ndarray, float], theirs: tuple[np.ndarray, float]) -> str:
    parts = []
    if len(ours[0]):
        parts.append(f"{np.mean(ours[0] == theirs[0]):.2%} of the rows equal")
    if ours[1]:
        parts.append(f"objective ratio {ours[1] / theirs[1]:.4f}")
    return ", ".join(parts)


def _timed(solve: Solve) -> tuple[float, tuple[np.ndarray, float]]:
    started = time.perf_counter()
    result = solve()
    return time.perf_counter() - started, result


def _potential(points: np.ndarray, centroids: np.ndarray) -> float:
    """Sum of squared distances to the nearest of the centroids, a block of rows at a time."""
    norms = (centroids**2).sum(1)
    total = 0.0
    for block in np.array_split(points, 50):
        squared = (block**2).sum(1)[:, None] - 2 * block @ centroids.T + norms
        total += float(squared.min(1).clip(min=0).sum(dtype=np.float64))
    return total


def _points(rows: int, columns: int) -> np.ndarray:
    """Overlapping clusters off the origin, as sentence embeddings are."""
    generator = np.random.default_rng(0)
    centres = 2 + generator.normal(size=(300, columns))
    noise = generator.normal(size=(rows, columns))
    return (centres[generator.integers(0, 300, rows)] + noise).astype(np.float32)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--columns", type=int, default=384)
    parser.add_argument("--k", type=int, default=200)
    parser.add_argument("--updates", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
