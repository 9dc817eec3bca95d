"""BM25 against a double loop over rows and words."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.budget import Budget
from harness.context import StageContext
from harness.errors import UsageError
from harness.types import DistilledData, TaskData
from harness_relevance.bm25 import BM25, TermCounts, bm25_weights
from resolved import resolved

MakeTask = Callable[..., TaskData]
VOCABULARY = ["the", "The", "cat", "ate", "a", "fish,", "über", "fish-bone", "42", "..."]
LINES = st.lists(st.sampled_from(VOCABULARY), min_size=1).map(" ".join)
TEXTS = st.lists(LINES, min_size=1, max_size=6)

POOL = [
    ("What is the capital of France? ", "Paris"),
    ("Name a fish. ", "The cod is a fish"),
    ("Is Paris a fish? ", "No, Paris is the capital, the capital of France"),
    ("Say hello. ", "hello hello hello"),
    ("What colour is the sea? ", "blue"),
]
TARGET = [("capital of Spain? ", "Madrid"), ("a blue fish? ", "the shark"), ("hello? ", "hello")]
SUBTASKS = ["places", "animals", "places"]


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def slow_bm25(pool: list[str], query: dict[str, float], k1: float, b: float) -> list[float]:
    """One word and one row after the other; `query` has the words' counts."""
    rows = [Counter(words(text)) for text in pool]
    lengths = [sum(row.values()) for row in rows]
    scores = []
    for row, length in zip(rows, lengths, strict=True):
        score = 0.0
        for word, times in query.items():
            holding = sum(word in other for other in rows)
            rarity = math.log(1 + (len(rows) - holding + 0.5) / (holding + 0.5))
            damping = k1 * (1 - b + b * length * len(rows) / sum(lengths))
            if row[word]:
                score += times * rarity * row[word] * (k1 + 1) / (row[word] + damping)
        scores.append(score)
    return scores


@given(pool=TEXTS, queries=TEXTS, k1=st.floats(0, 3), b=st.floats(0, 1))
def test_values_are_those_of_the_formula(
    pool: list[str], queries: list[str], k1: float, b: float
) -> None:
    try:
        counts = TermCounts.of(pool, queries)
    except UsageError:
        assert not {w for q in queries for w in words(q)} & {w for p in pool for w in words(p)}
        return
    values = bm25_weights(counts.pool, k1=k1, b=b) @ counts.queries.T
    expected = [slow_bm25(pool, Counter(words(query)), k1, b) for query in queries]
    np.testing.assert_allclose(values.toarray(), np.array(expected).T, atol=1e-12)


def joined(pairs: list[tuple[str, str]]) -> list[str]:
    return [f"{prompt}\n{completion}" for prompt, completion in pairs]


def oracle(queries: str) -> np.ndarray:
    """[rows, queries] values of the fixture by the slow loop."""
    target = [Counter(words(text)) for text in joined(TARGET)]
    if queries == "subtasks":
        places = {w: (target[0][w] + target[2][w]) / 2 for w in target[0] | target[2]}
        return np.array([slow_bm25(joined(POOL), q, 1.5, 0.75) for q in (places, target[1])]).T
    return np.array([slow_bm25(joined(POOL), q, 1.5, 0.75) for q in target]).T


def select(task: TaskData, context: StageContext, budget: str, **options: Any) -> DistilledData:
    return BM25(**options).distill(task, Budget.parse(budget), context)


def indices(data: DistilledData) -> list[int]:
    assert data.indices is not None
    return data.indices.tolist()


@pytest.mark.parametrize("queries", ["rows", "subtasks"])
@pytest.mark.parametrize("aggregate", ["mean", "max"])
def test_rows_are_ranked_by_their_values_to_all_queries(
    aggregate: str, queries: str, instructions: MakeTask, context: StageContext
) -> None:
    values = oracle(queries)
    scores = values.mean(1) if aggregate == "mean" else values.max(1)
    task = instructions(POOL, TARGET, SUBTASKS)
    data = select(task, context, "5rows", aggregate=aggregate, queries=queries)
    assert indices(data) == np.argsort(-scores, kind="stable").tolist()
    assert data.report["mean_score_chosen"] == pytest.approx(scores.mean())
    assert data.report["queries"] == values.shape[1]


def test_queries_take_rows_in_turns(instructions: MakeTask, context: StageContext) -> None:
    values = oracle("rows")
    task = instructions(POOL, TARGET, SUBTASKS)
    expected = [int(values[:, 0].argmax())]
    for query in (1, 2):
        free = values[:, query].copy()
        free[expected] = -1
        expected.append(int(free.argmax()))
    assert indices(select(task, context, "3rows", aggregate="turns")) == expected


def test_a_target_without_subtasks_is_one_subtask(
    instructions: MakeTask, context: StageContext
) -> None:
    task = instructions(POOL, TARGET)
    data = select(task, context, "5rows", aggregate="max", queries="subtasks")
    assert indices(data) == indices(select(task, context, "5rows", aggregate="mean"))
    assert data.report["queries"] == 1


def test_words_of_nobody_else_count_for_most(instructions: MakeTask, context: StageContext) -> None:
    pool = [("the the the ", "the"), ("the zebra ", "the"), ("the ", "the the")]
    task = instructions(pool, [("the zebra? ", "the")])
    assert indices(select(task, context, "1rows")) == [1]


def test_rows_that_share_no_word_are_counted(instructions: MakeTask, context: StageContext) -> None:
    task = instructions([("a ", "b"), ("c ", "d"), ("e ", "f")], [("c ", "x")])
    data = select(task, context, "2rows")
    assert indices(data) == [1, 0]
    assert data.report["chosen_without_score"] == 1


@given(order=st.permutations(range(5)), aggregate=st.sampled_from(["mean", "max", "turns"]))
def test_the_order_of_the_pool_changes_nothing(order: list[int], aggregate: str) -> None:
    counts = TermCounts.of(joined(POOL), joined(TARGET))
    shuffled = TermCounts.of([joined(POOL)[n] for n in order], joined(TARGET))
    values = bm25_weights(counts.pool, k1=1.5, b=0.75) @ counts.queries.T
    again = bm25_weights(shuffled.pool, k1=1.5, b=0.75) @ shuffled.queries.T
    np.testing.assert_array_equal(values.toarray()[order], again.toarray())


def test_a_pool_or_a_target_without_words_is_refused(
    instructions: MakeTask, context: StageContext
) -> None:
    with pytest.raises(UsageError, match="no word in common"):
        select(instructions(POOL, [("xyz ", "...")]), context, "1rows")
    with pytest.raises(UsageError, match="no words in the pool"):
        select(instructions([("? ", "!")], TARGET), context, "1rows")


@pytest.mark.parametrize("options", [{"k1": -1.0}, {"b": 1.5}, {"b": -0.1}])
def test_options_without_meaning_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="should be a number, at least 0"):
        resolved(BM25, **options)
