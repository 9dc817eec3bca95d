"""The evaluator `classification`: accuracy and F1 on one split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from harness.kit.evaluation import (
    broken_items,
    broken_result,
    named_items,
    require_classes,
    unfit_task,
)
from harness.protocols import Predictor
from harness.types import LABEL_COLUMN, Score, Split, TaskData
from harness_text.metrics import classification_metrics

if TYPE_CHECKING:
    from harness.context import StageContext
    from harness.protocols import TaskRecord

_ITEMS = ("score", "prediction", "target")


@dataclass(frozen=True)
class ClassificationEvaluator:
    """Accuracy and F1 of the most probable class; ties go to the lowest label."""

    modalities: ClassVar[tuple[str, ...]] = ("text-classification",)
    needs: ClassVar[tuple[str, ...]] = ("predict",)

    def evaluate(
        self, trained: Predictor, task: TaskData, split: Split, context: StageContext
    ) -> Score:
        """Raises ContractError for probabilities of a wrong shape or that are not finite, and for
        a task whose metric this evaluator does not measure."""
        rows = task.split(split)
        probabilities = np.asarray(trained.predict(rows, context))
        _check(probabilities, (len(rows), len(task.label_names)), trained)
        predicted = probabilities.argmax(1)
        labels = np.asarray(rows[LABEL_COLUMN])
        metrics = classification_metrics(predicted, labels, len(task.label_names))
        if task.metric not in metrics:
            known = f"one of {', '.join(metrics)} for {len(task.label_names)} classes"
            raise unfit_task(task, "metric", known, f"'{task.metric}'")
        compact = np.min_scalar_type(len(task.label_names) - 1)
        items = {
            "score": predicted == labels,
            "prediction": predicted.astype(compact),
            "target": labels.astype(compact),
        }
        return Score(metrics=metrics, main=task.metric, items=items)

    def recompute(self, items: Mapping[str, np.ndarray], task: TaskRecord) -> dict[str, float]:
        """Every metric of `evaluate`, from predictions and targets.

        Raises ContractError when an array is missing, holds a class that the task has not, or
        when a score is not that of its prediction."""
        score, predicted, labels = named_items(items, _ITEMS)
        classes = len(task.label_names)
        require_classes(classes, predicted, labels)
        wrong = int((score != (predicted == labels)).sum())
        if wrong:
            raise broken_items("1 where prediction and target agree, else 0", f"{wrong} others")
        return classification_metrics(predicted, labels, classes)


def _check(probabilities: np.ndarray, shape: tuple[int, int], trained: Any) -> None:
    if probabilities.shape != shape:
        expected, got = f"an array of shape {shape}", f"shape {probabilities.shape}"
        raise broken_result(trained, "predict", expected, got)
    bad = int((~np.isfinite(probabilities)).any(1).sum())
    if bad:
        got = f"NaN or infinity in {bad} of {shape[0]} rows"
        raise broken_result(trained, "predict", "finite probabilities", got)
