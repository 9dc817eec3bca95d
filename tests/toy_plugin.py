"""A one-file plugin: a toy task, student and evaluator, and distillers that misbehave on demand."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness import DistilledData, hookimpl
from harness.budget import Budget
from harness.context import StageContext
from harness.testing.toys import ToyAccuracy, ToyTask, WordCounts
from harness.types import Recipe, Score, Split, TaskData

HARNESS_API = 1


@dataclass(frozen=True)
class First:
    """The first rows of train, by class."""

    skip: int = 0

    def distill(self, task: TaskData, budget: Budget, context: StageContext) -> DistilledData:
        labels = np.asarray(task.train["label"])
        shares = budget.per_class(task.class_counts())
        picked = [
            np.flatnonzero(labels == c)[self.skip : self.skip + n] for c, n in enumerate(shares)
        ]
        return DistilledData.select(task, np.concatenate(picked))


@dataclass(frozen=True)
class Seeded:
    """Random rows; counts its calls in the file `calls`, if one is named."""

    calls: str = ""

    def distill(self, task: TaskData, budget: Budget, context: StageContext) -> DistilledData:
        if self.calls:
            with Path(self.calls).open("a") as file:
                file.write(f"{context.seed}\n")
        total = budget.total(task.class_counts())
        generator = context.numpy_generator("rows")
        context.keep_curve("draws", generator.random(100))
        return DistilledData.select(task, generator.permutation(len(task.train))[:total])


@dataclass(frozen=True)
class Everything:
    """The whole train split."""

    def distill(self, task: TaskData, budget: Budget, context: StageContext) -> DistilledData:
        return DistilledData.select(task, np.arange(len(task.train)))


@dataclass(frozen=True)
class Misbehaving:
    """Breaks the contract in the way that `how` names; `flag` makes it do so only once."""

    how: str = "raises"
    flag: str = ""

    def distill(self, task: TaskData, budget: Budget, context: StageContext) -> DistilledData:
        good = First().distill(task, budget, context)
        if self.flag:
            if Path(self.flag).exists():
                return good
            Path(self.flag).touch()
        return getattr(self, f"_{self.how}")(task, good)

    def _raises(self, task: TaskData, good: DistilledData) -> DistilledData:
        raise ValueError("in the middle of it")

    def _over_budget(self, task: TaskData, good: DistilledData) -> DistilledData:
        return DistilledData.select(task, np.arange(len(task.train)))

    def _wrong_columns(self, task: TaskData, good: DistilledData) -> DistilledData:
        return replace(good, rows=good.rows.rename_column("text", "body"))

    def _labels_out_of_range(self, task: TaskData, good: DistilledData) -> DistilledData:
        rows = good.rows.remove_columns("label").add_column("label", [7] * len(good.rows))
        return replace(good, rows=rows)

    def _nan_weights(self, task: TaskData, good: DistilledData) -> DistilledData:
        return replace(good, weights=np.full(len(good.rows), np.nan))

    def _opens_test(self, task: TaskData, good: DistilledData) -> DistilledData:
        return DistilledData.select(replace(task, splits={"train": task.test}), [0])

    def _names_test(self, task: TaskData, good: DistilledData) -> DistilledData:
        return replace(good, used_splits=("train", "test"))

    def _interrupts(self, task: TaskData, good: DistilledData) -> DistilledData:
        raise KeyboardInterrupt

    def _dies(self, task: TaskData, good: DistilledData) -> DistilledData:
        os.kill(os.getpid(), signal.SIGKILL)
        return good

    def _sleeps(self, task: TaskData, good: DistilledData) -> DistilledData:
        time.sleep(60)
        return good


@dataclass(frozen=True)
class Taught:
    """A model distiller: asks for something slow that every run of a store shares, then fits.

    how: `well`, or what it returns instead of a trained student.
    """

    how: str = "well"
    teacher: str = ""
    seconds: float = 0.0

    def fit(self, task: TaskData, student: Any, recipe: Recipe, context: StageContext) -> Any:
        def teach() -> dict[str, np.ndarray]:
            time.sleep(self.seconds)
            return {"lesson": np.ones(1)}

        context.cache.arrays("lesson", {"seconds": self.seconds}, teach)
        rows = DistilledData.select(task, np.arange(len(task.train)))
        trained = student.fit(task, rows, recipe, context)
        return trained if self.how == "well" else object()


@dataclass(frozen=True)
class Hidden(First):
    """The first rows for the eye, and all rows, by number, in an array that it trains on itself.

    how: `well`, or what is wrong with the array.
    """

    how: str = "well"

    def distill(self, task: TaskData, budget: Budget, context: StageContext) -> DistilledData:
        shown = super().distill(task, budget, context)
        rows = np.arange(len(task.train), dtype=np.float32)
        arrays = {"well": {"rows": rows}, "nothing": {}, "nan": {"rows": rows * np.nan}}[self.how]
        return replace(shown, indices=None, arrays=arrays)

    def train(
        self, task: TaskData, student: Any, data: DistilledData, recipe: Recipe,
        context: StageContext,
    ) -> Any:  # fmt: skip
        rows = DistilledData.select(task, data.arrays["rows"].astype(np.int64))
        return student.fit(task, rows, recipe, context)


@dataclass(frozen=True)
class DyingStudent(WordCounts):
    """`WordCounts` that kills its process once, in `fit` or in `predict`."""

    stage: str = "fit"
    flag: str = ""

    def fit(self, *arguments: Any) -> Any:
        if self.stage == "fit":
            die_once(self.flag)
        trained = super().fit(*arguments)
        if self.stage == "predict":
            trained.predict = dying_predict(trained.predict, self.flag)  # type: ignore[method-assign]
        return trained


def dying_predict(predict: Any, flag: str) -> Any:
    def wrapped(*arguments: Any) -> Any:
        die_once(flag)
        return predict(*arguments)

    return wrapped


def die_once(flag: str) -> None:
    if not Path(flag).exists():
        Path(flag).touch()
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class NanScore(ToyAccuracy):
    """An evaluator whose metric is not a number."""

    def evaluate(self, trained: Any, task: TaskData, split: Split, context: StageContext) -> Score:
        good = super().evaluate(trained, task, split, context)
        return replace(good, metrics={"accuracy": float("nan")})


@hookimpl
def harness_register_tasks(register: Any) -> None:
    register("toy", ToyTask, summary="two classes of adjectives")


@hookimpl
def harness_register_distillers(register: Any) -> None:
    register("first", First, summary="first rows", produces="selection", deterministic=True)
    register("seeded", Seeded, summary="random rows", produces="selection")
    register("twin", Seeded, summary="random rows by another name", produces="selection")
    register("everything", Everything, summary="all rows", produces="selection",
             deterministic=True, fixed_budget="100%")  # fmt: skip
    register("taught", Taught, summary="all rows, with help", produces="model", argument="how")
    register("hidden", Hidden, summary="all rows behind some", produces="arrays", argument="how")
    register("nothing", Taught, summary="no row", produces="model", fixed_budget="0%",
             reference=True)  # fmt: skip
    register("misbehaving", Misbehaving, summary="a bad guest", produces="synthesis",
             argument="how")  # fmt: skip


@hookimpl
def harness_register_students(register: Any) -> None:
    register("words", WordCounts, summary="naive Bayes")
    register("dying", DyingStudent, summary="kills its process once", argument="stage")


@hookimpl
def harness_register_evaluators(register: Any) -> None:
    register("toy-accuracy", ToyAccuracy, summary="share of correct rows")
    register("nan", NanScore, summary="not a number")


@hookimpl
def harness_leaderboard_columns(board: Any) -> dict[str, dict[str, str]]:
    labels = {row.label for table in board.tables for row in table.rows}
    return {"letters": {label: str(len(label)) for label in labels}}
