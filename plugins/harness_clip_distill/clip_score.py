"""The distiller `clip-score`: rows with the largest cosine of image and caption."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.budget import Budget
from harness.context import StageContext
from harness.kit.clip.teacher_options import TeacherOptions
from harness.kit.gradients.influence import select_top
from harness.types import DistilledData, TaskData


@dataclass(frozen=True)
class ClipScore(TeacherOptions):
    """The rows with the largest cosine of image and caption, as a teacher embeds them.

    The filter of LAION and DataComp (Gadre et al. 2023, arXiv 2304.14108, section 3.3), with a
    teacher that was trained on the same rows.
    """

    def distill(self, task: TaskData, budget: Budget, context: StageContext) -> DistilledData:
        """A selection of train rows, best first; equal scores by index.

        Raises:
            UsageError: the task has no images with captions, no teacher is named, it is no CLIP,
                or the budget exceeds the rows.
        """
        from harness.kit.clip.teacher import teacher_embeddings

        count = task.budget_rows(budget)
        stored = teacher_embeddings(self.teacher, task, self.teacher_training(), context)
        scores = (stored.image[0] * stored.text).sum(1).astype(np.float64)
        chosen = select_top(scores, count)
        report = {
            "score_mean": float(scores.mean()),
            "score_min": float(scores.min()),
            "chosen_score_mean": float(scores[chosen].mean()),
            "chosen_score_min": float(scores[chosen].min()),
            "teacher_scale": stored.scale,
        }
        return DistilledData.select(task, chosen, report=report)
