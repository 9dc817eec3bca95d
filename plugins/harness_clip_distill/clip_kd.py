"""The distiller `clip-kd` (CLIP-KD)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.context import StageContext
from harness.protocols import Student
from harness.types import Recipe, TaskData
from harness_clip_distill.kd_weights import KdWeights
from harness_clip_distill.taught_options import TaughtOptions

if TYPE_CHECKING:
    from harness.kit.clip.model import ClipModel


@dataclass(frozen=True)
class ClipKd(KdWeights, TaughtOptions):
    """The student by contrastive loss and what CLIP-KD found best.

    Yang et al. 2024 (arXiv 2307.12732). Its other terms can be turned on. Their own scales are
    learnt as logarithms and clamped, and gradients are multiplied by the scale, where the
    published code uses raw numbers and divides.
    """

    def fit(
        self, task: TaskData, student: Student, recipe: Recipe, context: StageContext
    ) -> ClipModel:
        """The student trained on the whole train split; maps and scales are not part of it.

        Raises:
            UsageError: the task has no images with captions, no teacher is named, or teacher or
                student is no CLIP.
            DivergenceError: training left the finite numbers.
        """
        from harness.kit.clip.student import build_clip_student, train_on_task
        from harness_clip_distill.kd_objective import KdObjective
        from harness_clip_distill.teaching import teaching

        model = build_clip_student(student, task, "clip-kd", context)
        teach, width = teaching(self, task, context)
        train_on_task(model, task, KdObjective(self, model, width, teach, context), recipe, context)
        return model
