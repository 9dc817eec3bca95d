"""The evaluator `linear-probe`: logistic regression on frozen image embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from harness.errors import UsageError
from harness.options import Natural
from harness.protocols import ImageTextModel
from harness.types import LABEL_COLUMN, Score, Split, TaskData
from harness_zero_shot.class_ranks import class_score, metrics_of_items, rank_classes
from harness_zero_shot.class_texts import without_classes
from harness_zero_shot.embeddings import image_embeddings

if TYPE_CHECKING:
    from datasets import Dataset

    from harness.context import StageContext
    from harness.kit.training.logistic_regression import LinearClassifier
    from harness.protocols import Student, TaskRecord


@dataclass(frozen=True)
class LinearProbe:
    """Logistic regression on unit image embeddings (Radford et al. 2021, arXiv 2103.00020, A.3).

    Learns from rows of the task's whole train split, whatever the student was trained on; the
    weight decay is the most accurate one on validation. Ranks by the task's metric where it is
    one of `top1`, `top5` and `mean_per_class_recall`, else by `top1`.

    shots: rows of each class that it learns from, drawn by the run's seed; all when 0.
    """

    shots: Natural = 0

    needs: ClassVar[tuple[str, ...]] = ("encode_image",)
    modalities: ClassVar[tuple[str, ...]] = ("image-text",)

    def check(self, task: TaskData, students: Mapping[str, Student], *, tunes: bool) -> None:
        """Refuses a task without classes, or with fewer rows of one than `shots`."""
        del students, tunes
        _require_rows(task, self.shots)

    def evaluate(
        self, trained: ImageTextModel, task: TaskData, split: Split, context: StageContext
    ) -> Score:
        """Embeds each split once. On validation the score is the chosen classifier's, which was
        chosen there.

        Raises ContractError for embeddings that are not unit vectors."""
        from harness.kit.training.logistic_regression import (
            MOST_FITS,
            choose_weight_decay,
            fit_logistic,
        )

        _require_rows(task, self.shots)
        train = task.train.select(self._rows(task, context))
        features, labels = image_embeddings(trained, train, context), _labels(train)
        seen = image_embeddings(trained, task.validation, context)
        seen_labels, classes = _labels(task.validation), len(task.label_names)

        ticks = iter(context.track(range(MOST_FITS), "linear probe", MOST_FITS))

        def fit(weight_decay: float, start: LinearClassifier | None) -> LinearClassifier:
            next(ticks, None)
            return fit_logistic(features, labels, classes, weight_decay, context.device, start)

        def quality(made: LinearClassifier) -> tuple[float, ...]:
            return (float((rank_classes(made.scores(seen), seen_labels)[1] == 1).mean()),)

        _, classifier = choose_weight_decay(fit, quality)
        rows = task.split(split)
        scored = seen if split == "validation" else image_embeddings(trained, rows, context)
        return class_score(classifier.scores(scored), _labels(rows), task.metric)

    def recompute(self, items: Mapping[str, np.ndarray], task: TaskRecord) -> dict[str, float]:
        """Every metric of `evaluate`, from ranks and targets; see `metrics_of_items`."""
        return metrics_of_items(items, len(task.label_names))

    def _rows(self, task: TaskData, context: StageContext) -> np.ndarray:
        labels = _labels(task.train)
        if not self.shots:
            return np.arange(len(labels))
        generator = context.numpy_generator("linear-probe")
        drawn = [
            generator.choice(np.flatnonzero(labels == label), self.shots, replace=False)
            for label in range(len(task.label_names))
        ]
        return np.sort(np.concatenate(drawn))


def _require_rows(task: TaskData, shots: int) -> None:
    if not task.label_names:
        raise without_classes(task)
    if min(task.class_counts()) < shots:
        least = int(np.argmin(task.class_counts()))
        raise UsageError(
            f"shots = {shots}, but class '{task.label_names[least]}' has"
            f" {task.class_counts()[least]} train rows"
        )


def _labels(rows: Dataset) -> np.ndarray:
    return np.asarray(rows[LABEL_COLUMN][:])
