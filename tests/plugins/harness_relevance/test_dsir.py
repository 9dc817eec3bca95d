"""DSIR: n-grams and importance weights by a slow loop, and what is drawn with them."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils import murmurhash3_32

from harness.budget import Budget
from harness.context import StageContext
from harness.errors import UsageError
from harness.testing.instruction import toy_instruction_task
from harness.types import TaskData
from harness_relevance.dsir import DSIR, hashed_ngrams, log_importance
from resolved import resolved

MakeTask = Callable[..., TaskData]
TEXTS = st.lists(st.text("aAbé ,.!?x9_\n", max_size=20), min_size=1, max_size=5)


def slow_counts(text: str, buckets: int, ngrams: int) -> Counter[int]:
    words = re.findall(r"\w+|[^\w\s]+", text.lower())
    counts: Counter[int] = Counter()
    for length in range(1, ngrams + 1):
        for start in range(len(words) - length + 1):
            gram = " ".join(words[start : start + length])
            counts[abs(murmurhash3_32(gram, seed=0)) % buckets] += 1
    return counts


def slow_weights(pool: list[Counter[int]], target: list[Counter[int]], buckets: int) -> list[float]:
    def share(rows: list[Counter[int]], bucket: int) -> float:
        total = sum(sum(row.values()) for row in rows)
        return (sum(row[bucket] for row in rows) + 0.5) / (total + 0.5 * buckets)

    return [
        sum(times * math.log(share(target, j) / share(pool, j)) for j, times in row.items())
        for row in pool
    ]


@given(texts=TEXTS, buckets=st.integers(1, 50), ngrams=st.integers(1, 3))
def test_ngrams_are_hashed_one_by_one(texts: list[str], buckets: int, ngrams: int) -> None:
    found = hashed_ngrams(texts, buckets, ngrams).toarray()
    for row, text in zip(found, texts, strict=True):
        counts = slow_counts(text, buckets, ngrams)
        assert row.tolist() == [counts[bucket] for bucket in range(buckets)]


@given(pool=TEXTS, target=TEXTS)
def test_weights_are_ratios_of_smoothed_shares(pool: list[str], target: list[str]) -> None:
    found = log_importance(hashed_ngrams(pool, 20, 2), hashed_ngrams(target, 20, 2), 0.5)
    counts = [[slow_counts(text, 20, 2) for text in texts] for texts in (pool, target)]
    np.testing.assert_allclose(found, slow_weights(*counts, buckets=20), atol=1e-9)


@given(pool=TEXTS, target=TEXTS, data=st.data())
def test_the_order_of_the_rows_changes_no_weight(
    pool: list[str], target: list[str], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(pool))))
    turned = data.draw(st.permutations(target))
    weights = log_importance(hashed_ngrams(pool, 20, 2), hashed_ngrams(target, 20, 2), 1.0)
    shuffled = hashed_ngrams([pool[n] for n in order], 20, 2)
    again = log_importance(shuffled, hashed_ngrams(turned, 20, 2), 1.0)
    np.testing.assert_allclose(weights[order], again, atol=1e-12)


def test_a_pool_like_its_target_has_weights_of_zero() -> None:
    counts = hashed_ngrams(["a b c", "a a d"], 100, 2)
    np.testing.assert_allclose(log_importance(counts, counts, 1.0), 0, atol=1e-12)


def test_rows_are_drawn_in_proportion_to_their_weights(instructions: MakeTask) -> None:
    pool = [("a ", "b"), ("c ", "d"), ("e ", "f")]
    task = instructions(pool, [("a ", "b"), ("c ", "x")])
    texts = [f"{p}\n{c}" for p, c in pool]
    goal = hashed_ngrams(["a b", "c x"], 1000, 2)
    weights = np.exp(log_importance(hashed_ngrams(texts, 1000, 2), goal, 1.0))
    assert weights[0] > 2 * weights[1] > 3 * weights[2]
    counts = np.zeros(3)
    for seed in range(200):
        drawn = DSIR(buckets=1000).distill(task, Budget.parse("1rows"), StageContext(seed, Path()))
        counts[drawn.indices] += 1
    np.testing.assert_allclose(counts / 200, weights / weights.sum(), atol=0.1)


def test_likely_rows_are_drawn_far_more_often_than_unlikely_ones(instructions: MakeTask) -> None:
    pool = [("a ", "b")] * 2 + [("c ", "d")] * 2
    task = instructions(pool, [("a ", "b")] * 5)
    counts = np.zeros(4)
    for seed in range(50):
        drawn = DSIR(buckets=100, smoothing=0.2).distill(
            task, Budget.parse("2rows"), StageContext(seed, Path())
        )
        counts[drawn.indices] += 1
    assert counts[:2].min() > 45
    assert counts[2:].max() < 5


def test_a_draw_belongs_to_its_seed(context: StageContext) -> None:
    task, budget = toy_instruction_task(rows=96).sealed(), Budget.parse("10rows")
    sets = []
    for seed in (0, 0, 1):
        drawn = DSIR(smoothing=1000.0).distill(task, budget, StageContext(seed, Path())).indices
        assert drawn is not None
        sets.append(drawn.tolist())
    assert sets[0] == sets[1] != sets[2]


@pytest.mark.parametrize("options", [{"buckets": 0}, {"ngrams": 0}, {"smoothing": 0.0}])
def test_options_without_meaning_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=r"at least 1|above 0"):
        resolved(DSIR, **options)
