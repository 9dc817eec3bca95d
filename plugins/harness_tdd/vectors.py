"""Vectors and soft labels as they were learned, and students trained on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.budget import Budget
from harness.context import StageContext
from harness.protocols import Student
from harness.types import DistilledData, Recipe, TaskData
from harness_tdd.options import TddOptions


@dataclass(frozen=True)
class Tdd(TddOptions):
    """Learned embeddings with soft labels, on which a few steps train the proxy.

    The loss of real rows after those steps is differentiated through them (Wang et al. 2018, arXiv
    1811.10959), with respect to inputs and labels (Sucholutsky and Schonlau 2021), for BERT's
    input embeddings (Maekawa et al., ACL 2023). The last also learn labels for attention, which
    a student would need attention's outputs as targets for; the suite's recipe has none, so they
    are left out. Students are trained by that recipe, not by the learned steps.

    Only a student with the proxy's own input embeddings can be trained on it: the most that rows
    of this number could be worth to that student. The rows that it shows are the nearest tokens.
    """

    def distill(self, task: TaskData, budget: Budget, context: StageContext) -> DistilledData:
        """Rows with the budget's number of each class, and the vectors in `arrays`.

        Raises:
            UsageError: another modality, no usable proxy, no such parameters, fewer rows than the
                budget asks for, or a vocabulary without an allowed token.
            DivergenceError: the very first inner loop left the finite numbers.
        """
        self.require_text(task)
        from harness_tdd.stages import vector_rows

        return vector_rows(self, task, budget, context)

    def train(
        self,
        task: TaskData,
        student: Student,
        data: DistilledData,
        recipe: Recipe,
        context: StageContext,
    ) -> Any:
        """See `train_on_vectors`, whose errors it raises."""
        from harness.kit.trajectories.vector_arrays import train_on_vectors

        return train_on_vectors(
            task, student, data, recipe, context, proxy=self.proxy, as_text="tdd-tokens"
        )
