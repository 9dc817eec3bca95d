"""Teachers, diverse batches, and the choice of the rows to keep."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from dilm_world import make_context
from hypothesis import given
from hypothesis import strategies as st

from harness_dilm.matching.clusters import DiverseBatches, clustered_batches, shuffled_batches
from harness_dilm.matching.teachers import class_pool, random_teacher, representative_teachers
from harness_dilm.selection import by_herding, by_kmeans, by_rank, first_of_each

BLOBS = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]], dtype=np.float32)


def blobs(counts: list[int], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Points near the four corners, and the corner of each."""
    rng = np.random.default_rng(seed)
    corners = np.repeat(np.arange(len(counts)), counts)
    noise = rng.normal(scale=0.1, size=(len(corners), 2)).astype(np.float32)
    return BLOBS[corners] + noise, corners


def test_teachers_hold_one_row_near_each_centroid_of_every_class(tmp_path: Path) -> None:
    points, corners = blobs([30, 20, 25, 5])
    points, corners = np.tile(points, (2, 1)), np.tile(corners, 2)
    labels = np.repeat([0, 1], 80)
    teachers = representative_teachers(points, labels, 2, 4, 3, make_context(tmp_path))
    assert len(teachers) == 3
    for teacher in teachers:
        for label, rows in enumerate(teacher):
            assert (labels[rows] == label).all()
            assert sorted(corners[rows]) == [0, 1, 2, 3]


def test_teachers_differ_among_themselves_and_not_between_runs(tmp_path: Path) -> None:
    points = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    labels = np.repeat([0, 1], 30)
    first, again = (
        representative_teachers(points, labels, 2, 7, 3, make_context(tmp_path)) for _ in range(2)
    )
    assert {frozenset(t[0].tolist()) for t in first} == {frozenset(t[0].tolist()) for t in again}
    assert len({frozenset(t[0].tolist()) for t in first}) > 1


def test_a_small_class_teaches_with_all_its_rows(tmp_path: Path) -> None:
    points, labels = np.random.default_rng(0).normal(size=(12, 2)), np.array([0] * 10 + [1] * 2)
    teacher = representative_teachers(points, labels, 2, 5, 1, make_context(tmp_path))[0]
    assert len(set(teacher[0].tolist())) == 5
    assert sorted(teacher[1]) == [10, 11]


def test_random_teachers_are_distinct_rows_of_their_class() -> None:
    labels = np.array([0] * 10 + [1] * 2)
    teacher = random_teacher(labels, 2, 5, np.random.default_rng(0))
    assert len(set(teacher[0].tolist())) == 5
    assert set(teacher[0]) <= set(range(10))
    assert sorted(teacher[1]) == [10, 11]


@given(
    counts=st.lists(st.integers(1, 30), min_size=2, max_size=4),
    size=st.integers(1, 60),
    seed=st.integers(0, 100),
)
def test_a_pool_keeps_every_class_in_proportion(counts: list[int], size: int, seed: int) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    pool = class_pool(labels, size, np.random.default_rng(seed))
    assert len(set(pool.tolist())) == len(pool)
    if size >= len(labels):
        assert pool.tolist() == list(range(len(labels)))
    else:
        found = np.bincount(labels[pool], minlength=len(counts))
        assert (found >= 1).all()
        assert (np.abs(found - size * np.array(counts) / sum(counts)) <= 1).all()


def test_a_diverse_batch_has_one_sample_of_every_cluster() -> None:
    points, corners = blobs([9, 4, 6, 1])
    members = np.arange(100, 120)
    batches = clustered_batches(members, points, 4, torch.Generator().manual_seed(0))
    for number in range(30):
        batch = batches.batch(number)
        assert sorted(corners[batch - 100]) == [0, 1, 2, 3]
    assert set(np.concatenate(batches.clusters)) == set(members)


def test_batches_take_the_clusters_items_in_turn_and_never_run_dry() -> None:
    batches = DiverseBatches((np.array([5]), np.array([1, 2, 3])))
    drawn = [batches.batch(number).tolist() for number in range(7)]
    assert drawn == [[5, 1], [5, 2], [5, 3], [5, 1], [5, 2], [5, 3], [5, 1]]
    assert batches.used_share(2) == 3 / 4
    assert batches.used_share(7) == 1.0


def test_equal_samples_give_smaller_batches_and_no_empty_cluster() -> None:
    points = np.repeat(np.eye(2, dtype=np.float32), 5, axis=0)
    batches = clustered_batches(np.arange(10), points, 4, torch.Generator().manual_seed(0))
    assert sorted(len(cluster) for cluster in batches.clusters) == [5, 5]


def test_without_clusters_samples_are_dealt_at_random() -> None:
    members = np.arange(20, 32)
    batches = shuffled_batches(members, 4, np.random.default_rng(0))
    dealt = np.concatenate([batches.batch(number) for number in range(3)])
    assert sorted(dealt) == sorted(members)
    assert dealt.tolist() != sorted(dealt)


def test_first_of_each_keeps_one_of_equal_texts() -> None:
    assert first_of_each([("a",), ("b",), ("a",), ("c",), ("b",)]).tolist() == [0, 1, 3]


def test_kmeans_chooses_near_means_where_greedy_k_center_takes_the_extremes() -> None:
    line = np.array([0, 1, 2, 3, 4, 100, 101, 102, 103, 104], dtype=np.float32)[:, None]
    chosen = by_kmeans(line, 2, torch.Generator().manual_seed(0))
    assert sorted(chosen) == [2, 7]


def test_herding_equals_its_definition() -> None:
    points = np.random.default_rng(0).normal(size=(30, 4))
    chosen: list[int] = []
    for i in range(6):
        gaps = [
            np.inf
            if j in chosen
            else np.linalg.norm(points[chosen].sum(0) + points[j] - (i + 1) * points.mean(0))
            for j in range(30)
        ]
        chosen.append(int(np.argmin(gaps)))
    assert by_herding(points, 6).tolist() == chosen


def test_rank_takes_the_lowest_losses() -> None:
    assert by_rank(np.array([3.0, 1.0, 2.0, 0.5]), 2).tolist() == [3, 1]


@pytest.mark.parametrize("count", [1, 7])
def test_every_choice_is_of_distinct_rows(count: int) -> None:
    points = np.random.default_rng(1).normal(size=(7, 3)).astype(np.float32)
    generator = torch.Generator().manual_seed(0)
    for chosen in (by_kmeans(points, count, generator), by_herding(points, count)):
        assert len(set(chosen.tolist())) == count
