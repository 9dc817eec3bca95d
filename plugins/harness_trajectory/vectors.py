"""Trajectory matching before the projection: students trained on the learned vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.budget import Budget
from harness.context import StageContext
from harness.protocols import Student
from harness.types import DistilledData, Recipe, TaskData
from harness_trajectory.trajectory import Trajectory


@dataclass(frozen=True)
class TrajectoryVectors(Trajectory):
    """What `trajectory` learned, before each vector became its nearest token.

    Only a student with the proxy's own input embeddings can be trained on it. Learning is shared
    with `trajectory` where the options agree. The rows that it shows are the nearest tokens.
    """

    def distill(self, task: TaskData, budget: Budget, context: StageContext) -> DistilledData:
        """Rows as `Trajectory.distill` gives them, and the vectors in `arrays`."""
        self.require_text(task)
        from harness.kit.trajectories.vector_arrays import vector_arrays
        from harness_trajectory.expert_segments import measure
        from harness_trajectory.outer_step import VECTORS
        from harness_trajectory.stages import learn_embeddings, losses

        result = learn_embeddings(self, task, budget, context)
        matching, data = result.matching, result.before_projection
        measured = measure(matching.segments, data, context)
        report = {"method": "reconstruction", **losses({"before_projection": measured})}
        vectors = result.state.learned[VECTORS][matching.rows.pseudo.mask]
        arrays = vector_arrays(result.prompts, vectors, matching.vocabulary.table)
        return DistilledData(rows=result.texts, report=report, arrays=arrays)

    def train(
        self,
        task: TaskData,
        student: Student,
        data: DistilledData,
        recipe: Recipe,
        context: StageContext,
    ) -> Any:
        """The student trained by its own loop, with vectors in the places of prompts' tokens.

        Rows are as long as they were learned, whatever the recipe's `max_length`.

        Raises:
            UsageError: the student has other input embeddings than the proxy, such as those of
                another architecture, or weights that are drawn anew for each seed.
        """
        from harness.kit.trajectories.vector_arrays import train_on_vectors

        return train_on_vectors(
            task, student, data, recipe, context, proxy=self.proxy, as_text="trajectory"
        )
