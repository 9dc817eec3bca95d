"""The geometric methods against slow loops, their invariants, and where they differ."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from harness.errors import HarnessError, UsageError
from harness.kit.selection.herding import herding
from harness.kit.selection.kmeans import kmeans, nearest_to_centroids
from harness_coreset.geometry.embedded import measure_cover
from harness_coreset.geometry.facility_location import facility_location
from harness_coreset.geometry.k_center import k_center
from harness_coreset.geometry.moderate import moderate

Method = Callable[[Tensor, int], Tensor]
Objective = Callable[[Tensor, list[int], int], float]
seeds = st.integers(0, 10_000)


def of_one_class(points: Tensor, k: int) -> Tensor:
    return moderate(points, torch.zeros(len(points), dtype=torch.int64), k)


def by_kmeans(points: Tensor, k: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return nearest_to_centroids(points, kmeans(points, k, generator).centroids)


GREEDY: list[Method] = [k_center, herding, facility_location]
DETERMINISTIC: list[Method] = [*GREEDY, of_one_class]
METHODS: list[Method] = [*DETERMINISTIC, by_kmeans]


def normal(rows: int, columns: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, columns, generator=generator, dtype=dtype)


def radius(points: Tensor, chosen: list[int], newest: int) -> float:
    """k-center: minus the distance to the nearest chosen point; at first, that to the mean."""
    if not chosen:
        return float((points[newest] - points.mean(0)).norm())
    return -min(float((points[newest] - points[j]).norm()) for j in chosen)


def drift(points: Tensor, chosen: list[int], newest: int) -> float:
    """Herding: how far the sum of the chosen points is from as many means."""
    total = sum((points[j] for j in chosen), points[newest])
    return float((total - (len(chosen) + 1) * points.mean(0)).norm())


def uncovered(points: Tensor, chosen: list[int], newest: int) -> float:
    """Facility location: minus the sum of the similarities to the most similar chosen point."""
    lengths = points.norm(dim=1)
    cosines = (points @ points.T) / (lengths[:, None] * lengths[None])
    return -float(cosines[:, [*chosen, newest]].max(1).values.sum())


def slow_moderate(points: Tensor, labels: list[int], k: int) -> list[int]:
    distances = []
    for point, label in zip(points, labels, strict=True):
        own = [p for p, other in zip(points, labels, strict=True) if other == label]
        distances.append(float((point - torch.stack(own).mean(0)).norm()))
    ordered = sorted(distances)
    half = len(ordered) // 2
    median = ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
    return sorted(range(len(points)), key=lambda i: abs(distances[i] - median))[:k]


OBJECTIVES: list[tuple[Method, Objective]] = [
    (k_center, radius),
    (herding, drift),
    (facility_location, uncovered),
]


@pytest.mark.parametrize(("method", "objective"), OBJECTIVES, ids=lambda f: f.__name__)
@settings(deadline=None, max_examples=15)
@given(seed=seeds, rows=st.integers(1, 16), data=st.data())
def test_every_greedy_step_takes_a_best_free_row(
    method: Method, objective: Objective, seed: int, rows: int, data: st.DataObject
) -> None:
    points = normal(rows, 3, seed) + 1.0
    chosen = method(points, data.draw(st.integers(1, rows))).tolist()
    for step, newest in enumerate(chosen):
        before = chosen[:step]
        best = min(objective(points, before, i) for i in range(rows) if i not in before)
        assert objective(points, before, newest) == pytest.approx(best, abs=1e-9)


@settings(deadline=None, max_examples=25)
@given(seed=seeds, rows=st.integers(3, 30), data=st.data())
def test_moderate_takes_the_distances_nearest_to_the_median(
    seed: int, rows: int, data: st.DataObject
) -> None:
    labels = data.draw(st.lists(st.integers(0, 2), min_size=rows, max_size=rows))
    k = data.draw(st.integers(1, rows))
    points = normal(rows, 3, seed)
    chosen = moderate(points, torch.tensor(labels), k).tolist()
    expected = slow_moderate(points, labels, k)
    distances = torch.stack(
        [
            (p - points[torch.tensor(labels) == label].mean(0)).norm()
            for p, label in zip(points, labels, strict=True)
        ]
    )
    gaps = (distances - distances.quantile(0.5)).abs()
    torch.testing.assert_close(gaps[chosen], gaps[expected])


def test_moderate_measures_each_row_from_the_centre_of_its_own_class() -> None:
    points = torch.tensor([[0.0], [2.0], [4.0], [100.0], [100.0], [112.0]])
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    # distances 2, 0, 2 from 2 and 4, 4, 8 from 104: the median is 3.
    assert sorted(moderate(points, labels, 4).tolist()) == [0, 2, 3, 4]


@pytest.mark.parametrize("method", METHODS, ids=lambda f: f.__name__)
@settings(deadline=None, max_examples=20)
@given(seed=seeds, rows=st.integers(1, 40), distinct=st.integers(1, 40), data=st.data())
def test_every_method_returns_exactly_k_different_rows_duplicates_or_not(
    method: Method, seed: int, rows: int, distinct: int, data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, rows))
    points = normal(distinct, 4, seed, torch.float32)[torch.arange(rows) % distinct]
    chosen = method(points, k)
    assert chosen.dtype == torch.int64
    assert len(chosen) == k == len(set(chosen.tolist()))
    assert 0 <= int(chosen.min()) <= int(chosen.max()) < rows


@pytest.mark.parametrize("method", [k_center, facility_location, by_kmeans])
def test_methods_that_spread_take_no_duplicate_before_every_place_is_taken(
    method: Method,
) -> None:
    points = normal(6, 8, 0, torch.float32).repeat(4, 1)
    assert sorted((method(points, 6) % 6).tolist()) == list(range(6))


@pytest.mark.parametrize("method", [k_center, herding, of_one_class], ids=lambda f: f.__name__)
@settings(deadline=None, max_examples=15)
@given(seed=seeds)
def test_the_order_of_the_rows_does_not_matter(method: Method, seed: int) -> None:
    points = normal(25, 4, seed)
    order = torch.randperm(25, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(order[method(points[order], 6)], method(points, 6))


@pytest.mark.parametrize("method", GREEDY, ids=lambda f: f.__name__)
def test_a_larger_budget_extends_a_greedy_choice(method: Method) -> None:
    points = normal(40, 4, 1)
    assert method(points, 12)[:5].tolist() == method(points, 5).tolist()


@pytest.mark.parametrize("method", METHODS, ids=lambda f: f.__name__)
def test_points_that_are_not_finite_give_one_clear_error(method: Method) -> None:
    points = normal(5, 2, 0)
    points[2, 0] = torch.nan
    with pytest.raises(HarnessError, match="NaN or infinity, the first is row 2"):
        method(points, 2)


@pytest.mark.parametrize("method", METHODS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("k", [0, 6])
def test_a_k_outside_the_points_is_refused(method: Method, k: int) -> None:
    with pytest.raises(UsageError, match=f"{k} of 5 points"):
        method(normal(5, 2, 0), k)


def test_k_means_takes_the_middle_of_each_cluster_and_k_center_their_ends() -> None:
    cross = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    points = torch.cat([cross, cross + torch.tensor([10.0, 0.0])])
    assert sorted(by_kmeans(points, 2).tolist()) == [0, 5]
    assert k_center(points, 2).tolist() in ([1, 6], [8, 3])


@settings(deadline=None, max_examples=20)
@given(seed=seeds, k=st.integers(2, 4))
def test_k_center_is_within_twice_the_least_radius(seed: int, k: int) -> None:
    points = normal(9, 2, seed)
    distances = torch.cdist(points, points)
    every_set = torch.combinations(torch.arange(9), k)
    radii = distances[:, every_set].min(2).values.max(0).values
    radius = distances[:, k_center(points, k)].min(1).values.max()
    assert float(radius) <= 2 * float(radii.min()) + 1e-9


def test_herding_keeps_the_mean_better_than_the_first_rows_do() -> None:
    points = normal(200, 5, 2)
    gaps = [
        (points[rows].mean(0) - points.mean(0)).norm()
        for rows in (herding(points, 20), torch.arange(20))
    ]
    assert gaps[0] < 0.2 * gaps[1]


def test_lazy_greedy_is_exact_when_only_few_candidates_are_computed_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    points = normal(60, 4, 3)
    expected: list[int] = []
    for _ in range(8):
        free = [row for row in range(60) if row not in expected]
        expected.append(min(free, key=lambda row: uncovered(points, expected, row)))
    for at_once in (1, 60 * 5, 60 * 1000):
        monkeypatch.setattr(
            "harness_coreset.geometry.facility_location._SIMILARITIES_AT_ONCE", at_once
        )
        assert facility_location(points, 8).tolist() == expected


def test_the_length_of_a_vector_means_nothing_to_facility_location() -> None:
    points = normal(30, 4, 4)
    scaled = points * torch.linspace(0.1, 9, 30).unsqueeze(1)
    assert torch.equal(facility_location(scaled, 6), facility_location(points, 6))


@settings(deadline=None, max_examples=20)
@given(seed=seeds, k=st.integers(1, 8))
def test_the_cover_is_measured_from_the_nearest_chosen_row(seed: int, k: int) -> None:
    points = normal(20, 3, seed)
    chosen = torch.arange(k)
    closest = torch.cdist(points, points[:k]).min(1).values
    cover = measure_cover(points, chosen)
    assert cover.rows == 20
    assert cover.radius == pytest.approx(float(closest.max()))
    assert cover.squared == pytest.approx(float(closest.square().mean()))
    assert cover.gap == pytest.approx(float((points[:k].mean(0) - points.mean(0)).norm()))
