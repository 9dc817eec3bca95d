"""The distiller `lightclip`: a student trained without a teacher, by LightCLIP's three losses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.context import StageContext
from harness.protocols import Student
from harness.types import Recipe, TaskData
from harness_lightclip.options import LightClipOptions

if TYPE_CHECKING:
    from harness.kit.clip.model import ClipModel


@dataclass(frozen=True)
class LightClip(LightClipOptions):
    """A student trained without a teacher, by three losses; a reconstruction of LightCLIP.

    LightCLIP (Nie, He, Han, Tang, Guo, Du and Wang 2023, arXiv 2312.00674) adds to the training of
    a light CLIP: labels whose negatives are softened progressively, a relaxed bipartite matching
    of patches and words, and masked language modelling with the image fused in at several stages
    of the text tower. The abstract says that much; equations, schedules and weights are ours.
    The published text tower is a shortened one: how long it is, the student says.
    """

    def fit(
        self, task: TaskData, student: Student, recipe: Recipe, context: StageContext
    ) -> ClipModel:
        """The student trained on the whole train split; nothing of the heads is left in it.

        Raises:
            UsageError: the task has no images with captions, the student builds no CLIP, or its
                text tower is not open_clip's own or has fewer layers than `stages` name.
            DivergenceError: training left the finite numbers.
        """
        from harness.kit.clip.student import build_clip_student, train_on_task
        from harness_lightclip.objective import LightClipObjective

        model = build_clip_student(student, task, "lightclip", context)
        objective = LightClipObjective(self, model, context)
        train_on_task(model, task, objective, recipe, context)
        objective.keep_curves(context)
        return model
