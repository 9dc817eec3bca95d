"""EL2N and forgetting: their formulas on known runs, and the runs of a small proxy."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from harness.budget import Budget
from harness.context import StageContext
from harness.errors import UsageError
from harness.testing.toys import toy_task
from harness.types import DistilledData, Recipe
from harness_coreset.coreset import Candidates
from harness_coreset.groups import train_labels
from harness_coreset.scores.el2n import EL2N, el2n_scores
from harness_coreset.scores.forgetting import Forgetting, forgetting_scores
from harness_coreset.scores.proxy_training import watch_training
from harness_coreset.scores.scored import ScoredCoreset, highest
from resolved import resolved

MakeContext = Callable[[int], StageContext]


def test_el2n_is_the_mean_length_of_the_error() -> None:
    probabilities = np.array([[[0.5, 0.5], [0.0, 1.0]], [[1.0, 0.0], [0.6, 0.4]]])
    expected = [(math.sqrt(0.5) + 0.0) / 2, (0.0 + math.sqrt(0.72)) / 2]
    np.testing.assert_allclose(el2n_scores(probabilities, np.array([0, 1])), expected)


def test_el2n_of_a_confident_mistake_is_the_largest_there_is() -> None:
    probabilities = np.array([[[0.0, 1.0, 0.0]]])
    assert el2n_scores(probabilities, np.array([0]))[0] == pytest.approx(math.sqrt(2))


def test_el2n_leaves_the_probabilities_alone() -> None:
    probabilities = np.full((1, 2, 2), 0.5)
    el2n_scores(probabilities, np.array([0, 1]))
    assert (probabilities == 0.5).all()


@pytest.mark.parametrize(
    ("looks", "score"),
    [
        ("1111", 0),  # learned at once, never forgotten
        ("0111", 0),
        ("0011", 0),
        ("1011", 1),
        ("1010", 2),
        ("0100", 1),
        ("0000", 4),  # never learned: above anything that can be forgotten
    ],
)
def test_a_forgetting_event_is_a_step_from_right_to_wrong(looks: str, score: int) -> None:
    correct = np.array([[look == "1"] for look in looks])
    assert forgetting_scores(correct).tolist() == [score]


@given(correct=hnp.arrays(bool, st.tuples(st.integers(2, 8), st.integers(1, 6))))
def test_rows_never_learned_score_above_all_others(correct: np.ndarray) -> None:
    scores = forgetting_scores(correct)
    learned = correct.any(0)
    assert (scores[~learned] == len(correct)).all()
    assert (scores[learned] <= len(correct) / 2).all()


@given(scores=hnp.arrays(np.float64, st.integers(1, 30), elements=st.integers(0, 3)))
def test_the_highest_scores_come_first(scores: np.ndarray) -> None:
    chosen = highest(scores, len(scores), np.random.default_rng(0))
    assert sorted(chosen.tolist()) == list(range(len(scores)))
    assert scores[chosen].tolist() == sorted(scores.tolist(), reverse=True)


def test_equal_scores_are_drawn_not_taken_in_order() -> None:
    first, again, other = (
        highest(np.zeros(50), 10, np.random.default_rng(seed)).tolist() for seed in (0, 0, 1)
    )
    assert first == again != other
    assert first != list(range(10))


@pytest.fixture
def candidates() -> Candidates:
    task = toy_task()
    return Candidates(task, np.arange(60), train_labels(task), ())


def test_a_run_is_watched_evenly_and_to_its_end(
    candidates: Candidates, make_context: MakeContext
) -> None:
    recipe = Recipe(steps=30, batch_size=16, learning_rate=1e-3, warmup=0.1, evaluations=3)
    seen = watch_training(candidates, "bert:tiny", recipe, 0, make_context(0))
    assert seen.shape == (3, 60, 2)
    np.testing.assert_allclose(seen.sum(2), 1.0, rtol=1e-5)
    right = np.take_along_axis(seen, candidates.labels[None, :, None], 2).mean(axis=(1, 2))
    assert right[2] > right[0] + 0.1, "the last look is at a better trained proxy"


def test_runs_differ_and_each_is_reproducible(
    candidates: Candidates, make_context: MakeContext
) -> None:
    recipe = Recipe(steps=2, batch_size=16, evaluations=1)
    runs = [
        watch_training(candidates, "bert:tiny", recipe, run, make_context(0)) for run in (0, 0, 1)
    ]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.allclose(runs[0], runs[2])


@dataclass(frozen=True)
class ByPosition(ScoredCoreset):
    """A later row is harder, whatever a proxy would say."""

    name: ClassVar[str] = "by-position"

    def score(self, candidates: Candidates, context: StageContext) -> Mapping[str, np.ndarray]:
        return {"scores": np.arange(len(candidates.rows), dtype=float), "accuracy": np.ones(1)}


@pytest.fixture
def choose(make_context: MakeContext) -> Callable[..., DistilledData]:
    def run(budget: str = "3/class", seed: int = 0, **options: Any) -> DistilledData:
        coreset = ByPosition(proxy="bert:tiny", **options)
        return coreset.distill(toy_task().sealed(), Budget.parse(budget), make_context(seed))

    return run


def test_hard_rows_score_high_and_easy_rows_low(choose: Callable[..., DistilledData]) -> None:
    hard, easy = choose(keep="hard"), choose(keep="easy")
    assert hard.indices is not None
    assert easy.indices is not None
    assert hard.indices.tolist() == [58, 56, 54, 59, 57, 55]
    assert easy.indices.tolist() == [0, 2, 4, 1, 3, 5]
    assert hard.report == {
        "rows_considered": 60, "mean_score": 29.5, "mean_score_chosen": 56.5, "proxy_accuracy": 1.0,
    }  # fmt: skip


def test_unbalanced_rows_compete_on_score_alone(choose: Callable[..., DistilledData]) -> None:
    data = choose("5rows", balanced=False)
    assert data.indices is not None
    assert data.indices.tolist() == [59, 58, 57, 56, 55]


def test_scores_belong_to_a_seed_and_serve_all_that_is_done_with_them(
    choose: Callable[..., DistilledData], computed: list[str]
) -> None:
    choose(seed=0)
    choose("9rows", seed=0, keep="easy", balanced=False)
    assert computed == ["by-position"]
    choose(seed=1)
    choose(seed=0, batch_size=8)
    assert computed == ["by-position"] * 3


def test_the_pool_bounds_what_is_scored(choose: Callable[..., DistilledData]) -> None:
    data = choose(pool=20)
    assert data.report["rows_considered"] == 20
    assert data.report["mean_score"] == 9.5
    assert len(data.rows) == 6


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        (EL2N, {"runs": 0}, "runs = 0: should be a whole number, at least 1"),
        (EL2N, {"steps": 0}, "steps = 0: should be a whole number, at least 1"),
        (Forgetting, {"epochs": 1}, "epochs = 1: should be a whole number, at least 2"),
        (EL2N, {"learning_rate": 0.0}, r"learning_rate = 0\.0: should be a number, above 0"),
        (Forgetting, {"batch_size": 0}, "batch_size = 0: should be a whole number, at least 1"),
        (EL2N, {"pool": -1}, "pool = -1: should be a whole number, at least 0"),
    ],
)
def test_options_without_meaning_are_refused(
    method: type, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        resolved(method, **options)
