"""The pool that a distilling seed draws: what it is of, and what all pools share."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data.pool import draw_pool, positions_in_whole
from harness.testing.toys import toy_task

TASK = toy_task(classes=3, rows=90)


@given(share=st.floats(0.01, 0.99), seed=st.integers(0, 10))
def test_each_class_gives_its_share_rounded_and_at_least_one_row(share: float, seed: int) -> None:
    pool = draw_pool(TASK, share, seed)
    expected = [max(1, round(share * count)) for count in TASK.class_counts()]
    assert pool.class_counts() == expected
    assert pool.pool is not None
    assert np.all(np.diff(pool.pool) > 0)
    assert pool.train[:] == TASK.train[pool.pool]


def test_it_depends_on_the_seed_alone() -> None:
    first, again, other = (draw_pool(TASK, 0.5, seed).pool for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_every_row_is_as_likely_to_be_drawn() -> None:
    draws = [draw_pool(TASK, 0.8, seed).pool for seed in range(400)]
    counts = np.bincount(np.concatenate(draws), minlength=len(TASK.train))
    # 0.8 of 400 draws, and five standard deviations of a binomial.
    assert np.all(np.abs(counts - 320) < 5 * (400 * 0.8 * 0.2) ** 0.5)


def test_the_other_splits_and_the_whole_stay() -> None:
    pool = draw_pool(TASK, 0.5, 0)
    assert (pool.validation[:], pool.test[:]) == (TASK.validation[:], TASK.test[:])
    whole = pool.whole()
    assert whole.train[:] == TASK.train[:]
    assert whole.pool is None
    assert TASK.whole() is TASK
    assert draw_pool(TASK, 1, 0) is TASK


@pytest.mark.parametrize("rows", [None, "all"])
def test_what_is_computed_of_the_whole_serves_a_pool(rows: str | None) -> None:
    pool = draw_pool(TASK, 0.5, 1)
    asked = None if rows is None else np.arange(len(pool.train))
    found = positions_in_whole(pool, "train", asked)
    assert found is not None
    assert TASK.train[found] == pool.train[:]


def test_but_not_a_few_of_its_rows_nor_another_split_nor_a_task_without_a_pool() -> None:
    pool = draw_pool(TASK, 0.5, 1)
    assert positions_in_whole(pool, "train", [0, 1]) is None
    assert positions_in_whole(pool, "validation", None) is None
    assert positions_in_whole(TASK, "train", None) is None
