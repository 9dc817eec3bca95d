"""k-means against slow loops and scikit-learn, and what it does with duplicates and empties."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from torch import Tensor

from harness.errors import HarnessError, UsageError
from harness.kit.selection import kmeans as module
from harness.kit.selection.kmeans import kmeans, lloyd, nearest, nearest_to_centroids, plus_plus

seeds = st.integers(0, 10_000)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(rows: int, columns: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(rows, columns, generator=generator(seed), dtype=dtype)


def blobs(centres: int, rows_each: int, seed: int = 0) -> Tensor:
    """Clusters around well-separated centres, float32 like embeddings."""
    means = 10 * normal(centres, 8, seed)
    return (
        means.repeat_interleave(rows_each, 0) + normal(centres * rows_each, 8, seed + 1)
    ).float()


def slow_nearest(point: Tensor, others: Tensor) -> int:
    distances = [float(((point - other) ** 2).sum()) for other in others]
    return distances.index(min(distances))


def slow_lloyd(points: Tensor, centroids: Tensor, updates: int) -> tuple[Tensor, list[int]]:
    centroids = centroids.clone()
    owners = [slow_nearest(point, centroids) for point in points]
    for _ in range(updates):
        for cluster in range(len(centroids)):
            own = [point for point, owner in zip(points, owners, strict=True) if owner == cluster]
            if own:
                centroids[cluster] = torch.stack(own).mean(0)
        owners = [slow_nearest(point, centroids) for point in points]
    return centroids, owners


@settings(deadline=None, max_examples=25)
@given(seed=seeds, k=st.integers(1, 6), updates=st.integers(1, 4))
def test_lloyd_is_the_textbook_loop(seed: int, k: int, updates: int) -> None:
    points = normal(30, 3, seed)
    result = lloyd(points, points[:k], iterations=updates, tolerance=0.0)
    centroids, owners = slow_lloyd(points, points[:k], updates)
    torch.testing.assert_close(result.centroids, centroids)
    assert result.assignments.tolist() == owners


def test_from_the_same_start_it_ends_where_scikit_learn_ends() -> None:
    points = normal(400, 6, seed=3)
    start = points[:9]
    ours = lloyd(points, start, iterations=300, tolerance=0.0)
    theirs = KMeans(9, init=start.numpy(), n_init=1, max_iter=300, tol=0.0).fit(points.numpy())
    assert ours.assignments.tolist() == theirs.labels_.tolist()
    assert ours.inertia == pytest.approx(theirs.inertia_, rel=1e-9)


def test_on_blobs_inertia_is_that_of_scikit_learn() -> None:
    points = blobs(centres=12, rows_each=40)
    ours = kmeans(points, 12, generator(), restarts=3)
    theirs = KMeans(12, n_init=3, random_state=0).fit(points.numpy())
    assert ours.inertia == pytest.approx(theirs.inertia_, rel=0.02)


@settings(deadline=None, max_examples=30)
@given(seed=seeds, rows=st.integers(1, 40), data=st.data())
def test_a_result_is_consistent(seed: int, rows: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, rows))
    points = normal(rows, 4, seed)
    result = kmeans(points, k, generator(seed), tolerance=0.0)
    owners = [slow_nearest(point, result.centroids) for point in points]
    assert result.assignments.tolist() == owners
    assert sorted(set(owners)) == list(range(k))
    for cluster in range(k):
        own = points[result.assignments == cluster]
        torch.testing.assert_close(result.centroids[cluster], own.mean(0))
    squared = (points - result.centroids[result.assignments]).square().sum()
    assert result.inertia == pytest.approx(float(squared), abs=1e-9)


def test_more_updates_never_raise_inertia() -> None:
    points = normal(200, 5)
    inertias = [lloyd(points, points[:8], iterations=n, tolerance=0.0).inertia for n in range(8)]
    assert inertias == sorted(inertias, reverse=True)
    assert inertias[0] > inertias[-1]


def test_more_restarts_never_raise_inertia() -> None:
    points = normal(120, 5)
    one, ten = (kmeans(points, 10, generator(4), restarts=n).inertia for n in (1, 10))
    assert ten < one


def test_the_seed_decides_the_clusters() -> None:
    points = normal(120, 5)
    first, again, other = (kmeans(points, 10, generator(s)).assignments for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_initial_centroids_are_points_one_in_each_distant_blob() -> None:
    points = blobs(centres=10, rows_each=5)
    start = plus_plus(points, 10, generator(5))
    found = [int((points == centroid).all(1).nonzero()) for centroid in start]
    assert sorted(index // 5 for index in found) == list(range(10))


def test_initial_centroids_are_drawn_by_squared_distance() -> None:
    points = torch.tensor([[0.0], [0.0], [1.0], [3.0]])
    seconds = [float(plus_plus(points, 2, generator(s))[1]) for s in range(400)]
    firsts = [float(plus_plus(points, 2, generator(s))[0]) for s in range(400)]
    from_zero = [b for a, b in zip(firsts, seconds, strict=True) if a == 0.0]
    # Two draws at 1 : 9; the better one is 3, unless both are 1.
    assert np.mean([b == 1.0 for b in from_zero]) == pytest.approx(0.1**2, abs=0.03)
    assert 0.0 not in from_zero


def test_a_centroid_that_owns_nothing_moves_to_where_points_are() -> None:
    points = blobs(centres=3, rows_each=10).double()
    start = torch.stack([points[0], points[0] + 1e6, points[0] - 1e6])
    result = lloyd(points, start, tolerance=0.0)
    assert torch.bincount(result.assignments, minlength=3).tolist() == [10, 10, 10]


@pytest.mark.parametrize("k", [1, 2, 3, 7, 9])
def test_duplicates_still_give_as_many_different_rows_as_asked(k: int) -> None:
    points = normal(3, 4, dtype=torch.float32).repeat(3, 1)
    result = kmeans(points, k, generator())
    chosen = nearest_to_centroids(points, result.centroids)
    assert len(set(chosen.tolist())) == k
    assert len(set((chosen % 3).tolist())) == min(k, 3)
    if k >= 3:
        assert result.inertia == pytest.approx(0.0, abs=1e-9)


def test_a_large_offset_does_not_blur_the_clusters() -> None:
    points = blobs(centres=6, rows_each=20)
    near = kmeans(points, 6, generator()).assignments
    far = kmeans(points + 3000.0, 6, generator()).assignments
    assert len(set(zip(near.tolist(), far.tolist(), strict=True))) == 6


@settings(deadline=None, max_examples=40)
@given(seed=seeds, rows=st.integers(1, 25), data=st.data())
def test_nearest_rows_are_taken_by_the_closest_centroid_first(
    seed: int, rows: int, data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, rows))
    points, centroids = normal(rows, 2, seed), normal(k, 2, seed + 1)
    distances = torch.cdist(centroids, points)
    free, expected = set(range(rows)), [-1] * k
    for centroid in sorted(range(k), key=lambda c: float(distances[c].min())):
        expected[centroid] = min(free, key=lambda p: (float(distances[centroid][p]), p))
        free.remove(expected[centroid])
    assert nearest_to_centroids(points, centroids).tolist() == expected


def test_two_centroids_with_one_nearest_row_get_two_rows() -> None:
    points = torch.tensor([[0.0], [10.0], [11.0]])
    assert nearest_to_centroids(points, torch.tensor([[2.0], [1.0]])).tolist() == [1, 0]


@settings(deadline=None, max_examples=20)
@given(seed=seeds)
def test_the_order_of_the_rows_does_not_matter_to_the_nearest(seed: int) -> None:
    points, centroids = normal(20, 3, seed), normal(5, 3, seed + 1)
    order = torch.randperm(20, generator=generator(seed))
    moved = nearest_to_centroids(points[order], centroids)
    assert torch.equal(order[moved], nearest_to_centroids(points, centroids))


@pytest.mark.parametrize("block", [1, 7, 50, 10_000])
def test_the_block_size_changes_nothing(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK_VALUES", block)
    points, others = normal(23, 4), normal(6, 4, seed=1)
    distances, indices = nearest(points, others)
    expected = torch.cdist(points, others).square().min(1)
    torch.testing.assert_close(distances, expected.values)
    assert torch.equal(indices, expected.indices)


@pytest.mark.parametrize("k", [0, 6, -1])
def test_k_outside_the_points_is_refused(k: int) -> None:
    with pytest.raises(UsageError, match=f"{k} of 5"):
        kmeans(normal(5, 2), k, generator())


def test_no_restart_is_refused() -> None:
    with pytest.raises(UsageError, match="restart"):
        kmeans(normal(5, 2), 2, generator(), restarts=0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_points_that_are_not_finite_are_named(value: float) -> None:
    points = normal(5, 2)
    points[3, 1] = value
    with pytest.raises(HarnessError, match=r"1 of 5 .* row 3"):
        kmeans(points, 2, generator())
    with pytest.raises(HarnessError, match="row 3"):
        nearest_to_centroids(points, points[:2])
