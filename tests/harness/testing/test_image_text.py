"""The conformance kit for image-text models lets good ones pass and names what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from harness.context import StageContext
from harness.data.sources import DataLocator
from harness.errors import ContractError
from harness.testing.image_text import (
    FixedEmbeddings,
    ToyImageTextTask,
    check_image_text_evaluator,
    check_image_text_student,
    seeing_model,
)
from harness.testing.text import check_task_plugin
from harness.types import DistilledData, Recipe, Score, Split, TaskData


class NearestText:
    """Zero-shot classification by the mean of the classes' texts, a tie being an error."""

    needs: ClassVar[tuple[str, ...]] = ("encode_image", "encode_text")

    def evaluate(self, trained: Any, task: TaskData, split: Split, context: StageContext) -> Score:
        rows = task.split(split)
        classes = np.stack([trained.encode_text(texts).mean(0) for texts in task.class_texts])
        scores = trained.encode_image(rows) @ classes.T
        labels = np.asarray(rows["label"])
        own = scores[np.arange(len(rows)), labels]
        right = (scores >= own[:, None]).sum(1) == 1
        return Score({"top1": float(right.mean())}, "top1", {"score": right})


class Strict(NearestText):
    def evaluate(self, trained: Any, task: TaskData, split: Split, context: StageContext) -> Score:
        if not np.isfinite(trained.encode_image(task.split(split))).all():
            raise ContractError(plugin="it", field="f", expected="numbers", got="NaN")
        return super().evaluate(trained, task, split, context)


class Generous(Strict):
    def evaluate(self, trained: Any, task: TaskData, split: Split, context: StageContext) -> Score:
        score = super().evaluate(trained, task, split, context)
        return Score({"top1": 1.0}, "top1", score.items)


@dataclass
class Seer:
    """A student that has nothing to learn; `flaw` is what it does wrong."""

    flaw: str = ""
    fits: int = 0

    def fingerprint(self) -> str:
        return "none"

    def fit(
        self, task: TaskData, data: DistilledData, recipe: Recipe, context: StageContext
    ) -> FixedEmbeddings:
        self.fits += 1
        return self._model(self.fits if self.flaw == "fit" else 0)

    def load(self, folder: Path, task: TaskData, context: StageContext) -> FixedEmbeddings:
        return self._model(9 if self.flaw == "load" else 0)

    def _model(self, turn: int) -> FixedEmbeddings:
        class Turned(FixedEmbeddings):
            flaw = self.flaw

            def encode_image(self, rows: Any, context: StageContext | None = None) -> np.ndarray:
                made = super().encode_image(rows, context)
                made = np.roll(made, turn, axis=1)
                if self.flaw == "unit":
                    return made * 2
                return made[np.argsort(made[:, 0])] if self.flaw == "order" else made

            def encode_text(
                self, texts: Sequence[str], context: StageContext | None = None
            ) -> np.ndarray:
                made = super().encode_text(texts, context)
                return made.astype(np.float64) if self.flaw == "dtype" else made

        good = seeing_model()
        return Turned(good._image, good._text)


def test_the_toy_task_keeps_its_contract() -> None:
    task = check_task_plugin(ToyImageTextTask(30), DataLocator())
    assert len(task.train) == 30
    assert task.class_counts() == [10, 10, 10]


def test_a_student_that_embeds_well_passes(tmp_path: Path) -> None:
    check_image_text_student(Seer(), tmp_path)


@pytest.mark.parametrize(
    ("flaw", "field"),
    [("fit", "fit"), ("load", "load"), ("unit", "encode_image"), ("order", "encode_image"),
     ("dtype", "encode_text")],
)  # fmt: skip
def test_a_student_with_a_flaw_is_named(tmp_path: Path, flaw: str, field: str) -> None:
    with pytest.raises(ContractError) as caught:
        check_image_text_student(Seer(flaw), tmp_path)
    assert caught.value.field == field


def test_an_evaluator_that_gives_no_credit_for_ties_passes(tmp_path: Path) -> None:
    check_image_text_evaluator(Strict(), tmp_path)


@pytest.mark.parametrize(
    ("evaluator", "field"), [(NearestText(), "evaluate"), (Generous(), "metrics")]
)
def test_an_evaluator_with_a_flaw_is_named(
    tmp_path: Path, evaluator: NearestText, field: str
) -> None:
    with pytest.raises(ContractError) as caught:
        check_image_text_evaluator(evaluator, tmp_path)
    assert caught.value.field == field
