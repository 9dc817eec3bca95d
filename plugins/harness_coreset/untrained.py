"""The distiller `base`: the student before any training."""

from __future__ import annotations

from dataclasses import dataclass, replace

from harness.context import StageContext
from harness.protocols import Student, Trained
from harness.types import DistilledData, Recipe, TaskData


@dataclass(frozen=True)
class Untrained:
    """The student's initial weights: what a method has to improve on.

    What is new in it, a classifier's head for one, is drawn from the seed, so a student that needs
    such a part scores as chance does.
    """

    def fit(
        self, task: TaskData, student: Student, recipe: Recipe, context: StageContext
    ) -> Trained:
        """The student after no step at all, by its own `fit`, so it is built as any other is."""
        return student.fit(task, DistilledData.select(task, [0]), replace(recipe, steps=0), context)
