"""Picking rows by score, against slow loops: budgets kept, ties by index, NaN never picked."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from harness.budget import Budget
from harness.errors import HarnessError, UsageError
from harness.testing.instruction import toy_instruction_task
from harness.testing.toys import toy_task
from harness_relevance.picking import (
    CandidateGroup,
    budget_places,
    highest,
    pick_highest,
    pick_in_turns,
    query_blocks,
)

SCORES = st.sampled_from([0.0, 1.0, 2.0, -3.0, math.nan, math.inf, -math.inf])


@given(scores=hnp.arrays(np.float64, st.integers(1, 12), elements=SCORES), count=st.integers(1, 14))
def test_the_highest_are_those_of_a_full_sort(scores: np.ndarray, count: int) -> None:
    usable = [n for n in range(len(scores)) if math.isfinite(scores[n])]
    expected = sorted(usable, key=lambda n: (-scores[n], n))[:count]
    assert highest(scores, count).tolist() == expected


def slow_turns(scores: np.ndarray, members: list[int], quota: int) -> list[int]:
    taken: list[int] = []
    while len(taken) < quota:
        for query in range(scores.shape[1]):
            free = [m for m in members if m not in taken and math.isfinite(scores[m, query])]
            if len(taken) < quota:
                taken.append(max(free, key=lambda m: (scores[m, query], -m)))
    return taken


@given(data=st.data(), rows=st.integers(1, 9), queries=st.integers(1, 4))
def test_queries_take_turns(data: st.DataObject, rows: int, queries: int) -> None:
    values = st.sampled_from([0.0, 1.0, 2.0, 5.0])
    scores = data.draw(hnp.arrays(np.float64, (rows, queries), elements=values))
    quota = data.draw(st.integers(1, rows))
    cut = data.draw(st.integers(0, queries))
    picked = pick_in_turns(
        [scores[:, :cut], scores[:, cut:]], [CandidateGroup(np.arange(rows), quota)]
    )
    assert picked.rows.tolist() == slow_turns(scores, list(range(rows)), quota)
    owners = [n % queries for n in range(quota)]
    assert picked.scores.tolist() == scores[picked.rows, owners].tolist()


def test_turns_are_taken_within_each_of_the_places() -> None:
    scores = np.array([[1.0, 6.0], [2.0, 5.0], [3.0, 4.0], [9.0, 9.0], [8.0, 9.5], [7.0, 9.0]])
    places = [CandidateGroup(np.array([0, 1, 2]), 2), CandidateGroup(np.array([3, 4, 5]), 1)]
    assert pick_in_turns([scores], places).rows.tolist() == [2, 0, 3]


def test_what_is_not_finite_is_never_picked() -> None:
    scores = np.array([math.nan, 1.0, math.inf, -math.inf, 0.0])
    places = [CandidateGroup(np.arange(5), 2)]
    assert pick_highest(scores, places).rows.tolist() == [1, 4]
    assert pick_in_turns([scores[:, None]], places).rows.tolist() == [1, 4]


def test_too_few_finite_scores_are_an_error_that_counts_them() -> None:
    scores = np.array([math.nan, 1.0, 0.0])
    with pytest.raises(HarnessError, match=r"only 2 of 3 rows have a finite score.*asks for 3"):
        pick_highest(scores, [CandidateGroup(np.arange(3), 3)])
    with pytest.raises(HarnessError, match="only 2 of 3 rows"):
        pick_in_turns([scores[:, None]], [CandidateGroup(np.arange(3), 3)])


def test_classes_share_the_budget_and_tasks_without_them_do_not() -> None:
    places = budget_places(toy_task(classes=3), Budget.parse("4/class"))
    assert [(p.quota, len(p.members)) for p in places] == [(4, 20)] * 3
    (whole,) = budget_places(toy_instruction_task(), Budget.parse("25%"))
    assert (whole.quota, whole.members.tolist()) == (12, list(range(48)))
    with pytest.raises(UsageError, match="there are no classes"):
        budget_places(toy_instruction_task(), Budget.parse("2/class"))


@given(rows=st.integers(1, 1 << 24), queries=st.integers(0, 50))
def test_blocks_of_queries_are_small_and_leave_none_out(rows: int, queries: int) -> None:
    blocks = list(query_blocks(rows, queries))
    assert [n for b in blocks for n in range(b.start, b.stop)] == list(range(queries))
    assert all((b.stop - b.start) * rows <= 1 << 23 or b.stop - b.start == 1 for b in blocks)
