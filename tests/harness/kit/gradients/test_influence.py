"""Influence scores against ten lines of NumPy, and which rows can never win."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import HarnessError, UsageError
from harness.kit.gradients import influence as module
from harness.kit.gradients.column_blocks import ColumnBlock, products
from harness.kit.gradients.influence import influence_scores, select_top, target_directions

SUBTASKS = {"first": [0, 1, 2], "second": [3], "third": [4, 1]}
OPTIONS = [
    (aggregation, reduction)
    for aggregation in ("mean_of_cosines", "cosine_of_mean")
    for reduction in ("max", "mean")
]


def features(rows: int, checkpoints: int = 3, width: int = 6, seed: int = 0) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.normal(size=(rows, width)).astype(np.float32) for _ in range(checkpoints)]


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def oracle(
    train: list[np.ndarray],
    target: list[np.ndarray],
    rates: list[float],
    aggregation: str,
    reduction: str,
) -> list[float]:
    scores = []
    for row in range(len(train[0])):
        by_task = np.zeros(len(SUBTASKS))
        for xs, vs, rate in zip(train, target, rates, strict=True):
            for task, members in enumerate(SUBTASKS.values()):
                x, own = xs[row].astype(np.float64), vs[members].astype(np.float64)
                mean = np.mean([cosine(x, v) for v in own])
                share = cosine(x, own.mean(0)) if aggregation == "cosine_of_mean" else mean
                by_task[task] += rate / sum(rates) * share
        scores.append(by_task.max() if reduction == "max" else by_task.mean())
    return scores


@pytest.mark.parametrize("block", [1, 40, 1 << 22])
@pytest.mark.parametrize(("aggregation", "reduction"), OPTIONS)
def test_scores_are_the_definition(
    aggregation: Any, reduction: Any, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BLOCK_VALUES", block)
    train, target, rates = features(20), features(6, seed=1), [3e-5, 2e-5, 5e-6]
    found = influence_scores(
        train, target, SUBTASKS, rates, aggregation=aggregation, reduction=reduction
    )
    expected = oracle(train, target, rates, aggregation, reduction)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert np.isfinite(found).all()


def test_the_two_aggregations_and_reductions_are_different_methods() -> None:
    train, target = features(20), features(6, seed=1)
    orders = [
        tuple(
            select_top(
                influence_scores(train, target, SUBTASKS, [1, 1, 1], aggregation=a, reduction=r),
                20,
            )
        )
        for a, r in OPTIONS  # type: ignore[misc]
    ]
    assert len(set(orders)) == 4


def test_half_precision_and_the_length_of_rows_change_nothing_much() -> None:
    train, target = features(30), features(6, seed=1)
    exact = influence_scores(train, target, SUBTASKS, [1, 1, 1])
    factors = np.exp(np.random.default_rng(2).normal(size=(30, 1)) * 20)
    scaled = [rows.astype(np.float64) * factors for rows in train]
    np.testing.assert_allclose(
        influence_scores(scaled, target, SUBTASKS, [1, 1, 1]), exact, atol=1e-9
    )
    half = [rows.astype(np.float16) for rows in train]
    np.testing.assert_allclose(
        influence_scores(half, target, SUBTASKS, [1, 1, 1]), exact, atol=2e-3
    )


def test_scoring_gradients_against_directions_is_scoring_the_features() -> None:
    """Without projection no store is needed: products with one direction a subtask suffice."""
    train, target = features(20, checkpoints=1), features(6, checkpoints=1, seed=1)
    directions = torch.from_numpy(target_directions(target[0], SUBTASKS, "mean_of_cosines"))
    rows = torch.from_numpy(train[0]).double()
    blocks = [ColumnBlock(0, rows[:, :4]), ColumnBlock(4, rows[:, 4:])]
    dots, squares = products(blocks, directions)
    found = (dots / squares.sqrt().unsqueeze(1)).max(1).values
    expected = influence_scores(train, target, SUBTASKS, [1.0])
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-9)


class TestRowsWithoutADirection:
    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 0.0])
    @pytest.mark.parametrize("checkpoint", [0, 2])
    def test_a_training_row_never_wins(self, bad: float, checkpoint: int) -> None:
        train, target = features(8), features(6, seed=1)
        clean = influence_scores(train, target, SUBTASKS, [1, 1, 1])
        train[checkpoint][5, slice(None) if bad == 0 else 2] = bad
        found = influence_scores(train, target, SUBTASKS, [1, 1, 1])
        assert found[5] == -np.inf
        others = [0, 1, 2, 3, 4, 6, 7]
        np.testing.assert_array_equal(found[others], clean[others])
        assert 5 not in select_top(found, 7)
        with pytest.raises(UsageError, match="8 rows of the 7"):
            select_top(found, 8)

    def test_a_target_row_is_left_out_of_its_subtasks_at_every_checkpoint(self) -> None:
        train, target = features(8), features(6, seed=1)
        target[1][1, 3] = np.nan
        found = influence_scores(train, target, SUBTASKS, [1, 1, 1])
        without = {"first": [0, 2], "second": [3], "third": [4]}
        expected = influence_scores(train, features(6, seed=1), without, [1, 1, 1])
        np.testing.assert_array_equal(found, expected)

    def test_a_subtask_of_such_rows_alone_is_an_error(self) -> None:
        train, target = features(8), features(6, seed=1)
        target[0][3] = 0
        with pytest.raises(HarnessError, match="'second' has no direction: 1 of its 1"):
            influence_scores(train, target, SUBTASKS, [1, 1, 1])


class TestTies:
    @pytest.mark.parametrize("rows", [1, 2, 4, 100])
    def test_equal_rows_score_equally_and_go_by_index(
        self, rows: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Matrix products round a row by its place in a block; ranks must not show it."""
        monkeypatch.setattr(module, "_BLOCK_VALUES", 33 * rows)
        train = [np.tile(unique, (21, 1)) for unique in features(5, width=33)]
        target = features(6, width=33, seed=1)
        found = influence_scores(train, target, SUBTASKS, [1, 1, 1])
        assert len(np.unique(found)) == 5
        best = int(found[:5].argmax())
        assert select_top(found, 21).tolist() == list(range(best, 105, 5))

    @given(st.lists(st.sampled_from([0.5, 1.0, 2.0, np.nan, -np.inf, np.inf]), max_size=30))
    def test_selection_is_sorting_by_score_then_index(self, given: list[float]) -> None:
        scores = np.array(given)
        finite = [row for row, score in enumerate(given) if np.isfinite(score)]
        expected = sorted(finite, key=lambda row: (-given[row], row))
        for count in range(len(finite) + 1):
            assert select_top(scores, count).tolist() == expected[:count]

    def test_the_order_of_the_rows_does_not_matter(self) -> None:
        train, target = features(40), features(6, seed=1)
        order = np.random.default_rng(3).permutation(40)
        scores = influence_scores(train, target, SUBTASKS, [1, 2, 3])
        shuffled = influence_scores([x[order] for x in train], target, SUBTASKS, [1, 2, 3])
        assert set(order[select_top(shuffled, 10)]) == set(select_top(scores, 10))


class TestRefuses:
    def test_weights_that_are_none(self) -> None:
        train, target = features(4), features(6)
        for weights in ([1.0, 1.0], [0.0, 0.0, 0.0], [1.0, -1.0, 1.0], [np.nan, 1.0, 1.0]):
            with pytest.raises(UsageError, match="weights"):
                influence_scores(train, target, SUBTASKS, weights)

    def test_features_of_different_shapes(self) -> None:
        train, target = features(4), features(6)
        with pytest.raises(UsageError, match="differ in width"):
            influence_scores(train, features(6, width=5), SUBTASKS, [1, 1, 1])
        with pytest.raises(UsageError, match="differ in shape"):
            influence_scores([train[0], train[1][:3], train[2]], target, SUBTASKS, [1, 1, 1])

    def test_subtasks_that_name_no_row(self) -> None:
        train, target = features(4), features(6)
        for members in ([], [6], [-1]):
            with pytest.raises(UsageError, match="'empty' names no row"):
                influence_scores(train, target, {"empty": members}, [1, 1, 1])
        with pytest.raises(UsageError, match="no subtask"):
            influence_scores(train, target, {}, [1, 1, 1])
