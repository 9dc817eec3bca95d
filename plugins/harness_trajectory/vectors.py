"""Trajectory matching before the projection: students trained on the learned vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.budget import Budget
from harness.context import StageContext
from harness.errors import UsageError
from harness.types import DistilledData, Recipe, Student, TaskData
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
        from harness_trajectory.stages import learned_way, losses, measured_stage
        from harness_trajectory.vector_arrays import way_arrays

        way = learned_way(self, task, budget, context)
        measured = measured_stage(way.passages, way.before_projection, context)
        report = {"method": "reconstruction", **losses({"before_projection": measured})}
        return DistilledData(rows=way.texts, report=report, arrays=way_arrays(way))

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
        import torch

        from harness.kit.learned_tokens import learned_tokens, vocabulary_digest
        from harness_trajectory.vector_arrays import read_rows

        learner: Any = student
        length = {} if task.modality == "instruction" else {"max_length": recipe.max_length}
        model = learner.build(task, context, **length)
        table = model.model.get_input_embeddings().weight
        if (vocabulary_digest(table) != data.arrays["vocabulary"]).any():
            raise UsageError(
                f"the vectors were learned among the input embeddings of '{self.proxy}', and this"
                " student has others",
                hint="Train the proxy itself, from a checkpoint, or take `trajectory`, whose rows"
                " are text.",
            )
        with learned_tokens(model.model, torch.from_numpy(data.arrays["vectors"])):
            encoded = read_rows(data.arrays, len(table))
            return learner.fit_encoded(model, encoded, task, data, recipe, context)
