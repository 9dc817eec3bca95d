"""A third party's plugin: one distiller, one student, one evaluator, one task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness import DistilledData, hookimpl
from harness.testing.toys import ToyAccuracy, ToyTask, WordCounts

HARNESS_API = 1


@dataclass(frozen=True)
class Longest:
    """The longest texts of each class."""

    def distill(self, task: Any, budget: Any, context: Any) -> DistilledData:
        texts, labels = task.train[task.input_columns[0]], task.train["label"]
        by_length = sorted(range(len(texts)), key=lambda n: -len(texts[n]))
        shares = budget.per_class(task.class_counts())
        picked = [
            n
            for label, share in enumerate(shares)
            for n in [n for n in by_length if labels[n] == label][:share]
        ]
        return DistilledData.select(task, picked)


@hookimpl
def harness_register_distillers(register: Any) -> None:
    register("longest", Longest, summary="longest texts", produces="selection", deterministic=True)


@hookimpl
def harness_register_students(register: Any) -> None:
    register("word-counts", WordCounts, summary="naive Bayes")


@hookimpl
def harness_register_evaluators(register: Any) -> None:
    register("plain-accuracy", ToyAccuracy, summary="share of correct rows")


@hookimpl
def harness_register_tasks(register: Any) -> None:
    register("adjectives", ToyTask, summary="two classes of adjectives")
