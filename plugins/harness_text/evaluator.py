"""The evaluator `classification`: accuracy and F1 on one split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from harness.errors import ContractError
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
            raise ContractError(
                plugin=f"task '{task.name}'",
                field="metric",
                expected=f"one of {', '.join(metrics)} for {len(task.label_names)} classes",
                got=f"'{task.metric}'",
            )
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
        missing = [name for name in _ITEMS if name not in items]
        if missing:
            raise _broken(f"the arrays {', '.join(_ITEMS)}", f"none for {', '.join(missing)}")
        score, predicted, labels = (items[name] for name in _ITEMS)
        classes = len(task.label_names)
        highest = max(predicted.max(initial=0), labels.max(initial=0))
        if highest >= classes:
            raise _broken(f"class numbers below {classes}", str(highest))
        wrong = int((score != (predicted == labels)).sum())
        if wrong:
            raise _broken("1 where prediction and target agree, else 0", f"{wrong} others")
        return classification_metrics(predicted, labels, classes)


def _broken(expected: str, got: str) -> ContractError:
    return ContractError(plugin="the record", field="items", expected=expected, got=got)


def _check(probabilities: np.ndarray, shape: tuple[int, int], trained: Any) -> None:
    expected, got = "", ""
    if probabilities.shape != shape:
        expected, got = f"an array of shape {shape}", f"shape {probabilities.shape}"
    elif not np.isfinite(probabilities).all():
        count = int((~np.isfinite(probabilities)).any(1).sum())
        expected, got = "finite probabilities", f"NaN or infinity in {count} of {shape[0]} rows"
    if expected:
        raise ContractError(
            plugin=f"student '{trained.info.name}'",
            field="the result of predict",
            expected=expected,
            got=got,
        )
