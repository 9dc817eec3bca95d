"""The conformance kit accepts good components and catches each way of being a bad one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import DistilledData
from harness.errors import ContractError
from harness.testing.text import (
    check_classification_evaluator,
    check_distiller,
    check_student,
    check_task_plugin,
    toy_context,
)
from harness.testing.toys import ToyAccuracy, ToyTask, WordCounts, toy_task


class Head:
    def distill(self, task: Any, budget: Any, context: Any) -> DistilledData:
        return DistilledData.select(task, range(budget.total(task.class_counts())))


class UnownedRandomness:
    """Draws from a generator of its own, so that a seed does not settle the result."""

    def distill(self, task: Any, budget: Any, context: Any) -> DistilledData:
        total = budget.total(task.class_counts())
        rows = np.random.default_rng().permutation(len(task.train))[:total]
        return DistilledData.select(task, rows)


class ReadsTest:
    def distill(self, task: Any, budget: Any, context: Any) -> DistilledData:
        return DistilledData(task.test)


def test_good_components_pass(tmp_path: Path) -> None:
    check_task_plugin(ToyTask(), None)  # type: ignore[arg-type]
    check_distiller(Head(), tmp_path, produces="selection", deterministic=True)
    check_student(WordCounts(), tmp_path)
    check_classification_evaluator(ToyAccuracy(), tmp_path)


@pytest.mark.parametrize(
    ("distiller", "complaint"),
    [(UnownedRandomness(), "the same rows for the same seed"), (ReadsTest(), "opened once")],
)
def test_a_bad_distiller_is_caught(tmp_path: Path, distiller: Any, complaint: str) -> None:
    with pytest.raises(ContractError, match=complaint):
        check_distiller(distiller, tmp_path, produces="selection")


@dataclass(frozen=True)
class Forgetful(WordCounts):
    """Loads another model than it saved."""

    def load(self, folder: Path, task: Any, context: Any) -> Any:
        trained = super().load(folder, task, context)
        flipped = {word: -values for word, values in trained._logits.items()}
        trained._logits = flipped
        return trained


@dataclass(frozen=True)
class Restless(WordCounts):
    """Uses randomness that no seed settles."""

    def fit(self, task: Any, data: Any, recipe: Any, context: Any) -> Any:
        seed = int(np.random.default_rng().integers(1 << 30))
        return super().fit(task, data, recipe, replace(context, seed=seed))


@pytest.mark.parametrize(
    ("student", "complaint"),
    [(Forgetful(), "the model that was saved"), (Restless(forget=0.5), "same weights")],
)
def test_a_bad_student_is_caught(tmp_path: Path, student: Any, complaint: str) -> None:
    with pytest.raises(ContractError, match=complaint):
        check_student(student, tmp_path)


class Generous(ToyAccuracy):
    """Counts everything as correct."""

    def evaluate(self, trained: Any, task: Any, split: Any, context: Any) -> Any:
        good = super().evaluate(trained, task, split, context)
        return replace(good, items={"score": np.ones(len(task.split(split)))})


def test_a_generous_evaluator_is_caught(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="majority share"):
        check_classification_evaluator(Generous(), tmp_path)


def test_an_evaluator_that_scores_nan_probabilities_is_caught(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="probabilities are NaN"):
        check_classification_evaluator(Lenient(), tmp_path)


class Lenient(ToyAccuracy):
    """Scores a model that predicts NaN."""

    def evaluate(self, trained: Any, task: Any, split: Any, context: Any) -> Any:
        class Cleaned:
            def predict(self, rows: Any, context: Any = None) -> Any:
                return np.nan_to_num(trained.predict(rows))

        return super().evaluate(Cleaned(), task, split, context)


def test_toy_rows_are_reproducible_and_distinct(tmp_path: Path) -> None:
    assert toy_task().train[:] == toy_task().train[:]
    assert len(set(toy_task().train["text"])) == 60
    assert toy_context(tmp_path / "new").workdir.is_dir()
