"""The nearest allowed row, whatever the metric, the ties and the blocks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from harness.errors import HarnessError, UsageError
from harness.kit.trajectories.token_projection import (
    AllowedTokens,
    Metric,
    nearest,
    nearest_tokens,
)

METRICS: tuple[Metric, ...] = ("l2", "cosine")


def all_of(table: Tensor) -> AllowedTokens:
    return AllowedTokens(torch.arange(len(table)), len(table))


@contextmanager
def blocks_of(rows: int, values: int) -> Iterator[None]:
    """The table is searched by so many rows at once, of so many values each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nearest, "_BLOCK_VALUES", rows * values)
        yield


def brute_force(vector: Tensor, table: Tensor, ids: list[int], metric: str) -> tuple[int, float]:
    """One row after the other; the first of equals stays."""
    best, least = -1, math.inf
    x = [float(value) for value in vector]
    for token in ids:
        w = [float(value) for value in table[token]]
        if metric == "l2":
            distance = math.dist(x, w)
        else:
            if not any(w):
                continue
            products = math.fsum(a * b for a, b in zip(x, w, strict=True))
            distance = 1 - products / math.hypot(*x) / math.hypot(*w)
        if distance < least - 1e-12:
            best, least = token, distance
    return best, least


@pytest.mark.parametrize("metric", METRICS)
def test_it_is_what_a_loop_over_all_rows_finds(metric: Metric) -> None:
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(60, 5, generator=generator)
    table[17] = 0
    vectors = torch.randn(20, 5, generator=generator)
    allowed = AllowedTokens(torch.arange(3, 60, 2), 60)
    found = nearest_tokens(vectors, table, allowed, metric=metric)
    for row, vector in enumerate(vectors):
        token, distance = brute_force(vector, table, allowed.ids.tolist(), metric)
        assert found.ids[row] == token
        assert float(found.distances[row]) == pytest.approx(distance, abs=1e-12)
    assert found.mean_distance == pytest.approx(float(found.distances.mean()))


def test_l2_and_cosine_choose_differently() -> None:
    """The near row points elsewhere, the row of the same direction is long."""
    table = torch.tensor([[5.0, 5.0], [1.0, 0.2]])
    vector = torch.tensor([[1.0, 1.0]])
    assert nearest_tokens(vector, table, all_of(table), metric="l2").ids.tolist() == [1]
    cosine = nearest_tokens(vector, table, all_of(table), metric="cosine")
    assert cosine.ids.tolist() == [0]
    assert float(cosine.distances[0]) == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("metric", METRICS)
@settings(max_examples=40)
@given(
    rows=st.integers(2, 12),
    size=st.integers(1, 14),
    seed=st.integers(0, 1000),
    length=st.sampled_from([1e-3, 1.0, 90.0]),
)
def test_blocks_change_nothing_even_where_rows_are_equal(
    metric: Metric, rows: int, size: int, seed: int, length: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    distinct = torch.randn(rows, 7, generator=generator) * length
    copies = torch.randint(rows, (40,), generator=generator)
    table = distinct[copies]
    vectors = torch.cat([table[:4], torch.randn(5, 7, generator=generator)])
    whole = nearest_tokens(vectors, table, all_of(table), metric=metric)
    with blocks_of(size, len(vectors)):
        parts = nearest_tokens(vectors, table, all_of(table), metric=metric)
    assert torch.equal(whole.ids, parts.ids)
    torch.testing.assert_close(whole.distances, parts.distances, rtol=1e-12, atol=1e-14)
    lowest = {int(copy): place for place, copy in reversed(list(enumerate(copies)))}
    assert set(parts.ids.tolist()) <= set(lowest.values())


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("block", [1, 3, 100])
def test_the_lowest_id_wins_among_equals(metric: Metric, block: int) -> None:
    table = torch.tensor([[9.0, -9.0], [1.0, 2.0], [1.0, 2.0], [0.0, 3.0], [1.0, 2.0]])
    with blocks_of(block, 2):
        found = nearest_tokens(torch.tensor([[1.0, 2.1]]), table, all_of(table), metric=metric)
    assert found.ids.tolist() == [1]
    later = AllowedTokens(torch.tensor([0, 2, 4]), 5)
    assert nearest_tokens(torch.tensor([[1.0, 2.1]]), table, later, metric=metric).ids == 2


@pytest.mark.parametrize("metric", METRICS)
def test_float32_rounding_does_not_decide(metric: Metric) -> None:
    """Two rows far from the origin, nearer to one another than a float32 product can tell."""
    table = torch.full((2, 64), 100.0)
    table[0, 0] += 2e-3
    table[1, 0] += 1e-3
    vector = torch.full((1, 64), 100.0)
    found = nearest_tokens(vector, table, all_of(table), metric=metric)
    assert found.ids.tolist() == [1]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_any_precision_of_the_table_is_searched(dtype: torch.dtype) -> None:
    table = torch.randn(50, 6, generator=torch.Generator().manual_seed(0)).to(dtype)
    found = nearest_tokens(table[7:9], table, all_of(table))
    assert found.ids.tolist() == [7, 8]
    assert found.mean_distance == 0


def test_zero_rows_are_never_nearest_by_the_cosine() -> None:
    table = torch.tensor([[0.0, 0.0], [-1.0, -1.0]])
    vector = torch.ones(1, 2)
    assert nearest_tokens(vector, table, all_of(table), metric="cosine").ids.tolist() == [1]
    assert nearest_tokens(vector, table, all_of(table), metric="l2").ids.tolist() == [0]
    with pytest.raises(UsageError, match="a vector of zeros has no cosine"):
        nearest_tokens(torch.zeros(1, 2), table, all_of(table), metric="cosine")
    with pytest.raises(UsageError, match="every allowed row is zero"):
        nearest_tokens(vector, table, AllowedTokens(torch.tensor([0]), 2), metric="cosine")


def test_the_share_of_changed_ids() -> None:
    table = torch.eye(4)
    found = nearest_tokens(table[[0, 1, 2, 3]], table, all_of(table))
    assert found.changed_share(torch.tensor([0, 1, 0, 0])) == 0.5
    assert found.changed_share(found.ids) == 0
    with pytest.raises(UsageError, match="2 initial ids for 4"):
        found.changed_share(torch.tensor([0, 1]))


def test_it_has_no_graph_and_holds_no_matrix_of_all_distances() -> None:
    vectors = torch.randn(3, 4, requires_grad=True)
    table = torch.randn(10, 4, requires_grad=True)
    found = nearest_tokens(vectors, table, all_of(table))
    assert not found.distances.requires_grad


class TestBadInput:
    def test_a_vocabulary_with_all_tokens_forbidden_is_refused(self) -> None:
        with pytest.raises(UsageError, match="all 9 tokens of the vocabulary are forbidden"):
            AllowedTokens(torch.tensor([], dtype=torch.int64), 9)

    @pytest.mark.parametrize("ids", [[1, 1], [2, 1], [-1, 2], [0, 9]])
    def test_allowed_tokens_ascend_within_the_vocabulary(self, ids: list[int]) -> None:
        with pytest.raises(UsageError, match="ascend"):
            AllowedTokens(torch.tensor(ids), 9)

    def test_vectors_that_diverged_are_refused(self) -> None:
        table = torch.eye(3)
        vectors = torch.full((1, 3), np.nan)
        with pytest.raises(HarnessError, match="NaN or infinite"):
            nearest_tokens(vectors, table, all_of(table))
        with pytest.raises(HarnessError, match="table holds NaN"):
            nearest_tokens(torch.ones(1, 3), torch.full((3, 3), np.nan), all_of(table))

    def test_shapes_and_metrics_that_do_not_fit_are_refused(self) -> None:
        table = torch.eye(3)
        with pytest.raises(UsageError, match="shape"):
            nearest_tokens(torch.ones(1, 2), table, all_of(table))
        with pytest.raises(UsageError, match="vocabulary of 4 for a table of 3"):
            nearest_tokens(torch.ones(1, 3), table, AllowedTokens(torch.arange(4), 4))
        with pytest.raises(UsageError, match="unknown metric 'l1'"):
            nearest_tokens(torch.ones(1, 3), table, all_of(table), metric="l1")  # type: ignore[arg-type]
