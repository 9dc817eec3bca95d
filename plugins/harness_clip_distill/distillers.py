"""The distillers `teacher`, `clip-contrastive` and `clip-distill` (open_clip's)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.context import StageContext
from harness.kit.clip.teacher_options import TeacherOptions
from harness.protocols import Student
from harness.types import Recipe, TaskData
from harness_clip_distill.taught_options import TaughtOptions

if TYPE_CHECKING:
    from harness.kit.clip.model import ClipModel


@dataclass(frozen=True)
class TeacherItself(TeacherOptions):
    """The trained teacher in the student's place: what the student would like to be."""

    def fit(
        self, task: TaskData, student: Student, recipe: Recipe, context: StageContext
    ) -> ClipModel:
        """The teacher, whatever student and recipe are."""
        from harness.kit.clip.teacher import trained_teacher

        del student, recipe
        return trained_teacher(self.teacher, task, self.teacher_training(), context)


@dataclass(frozen=True)
class Contrastive:
    """The student by the contrastive loss alone: what a teacher has to improve upon."""

    modalities: ClassVar[tuple[str, ...]] = ("image-text",)

    def fit(
        self, task: TaskData, student: Student, recipe: Recipe, context: StageContext
    ) -> ClipModel:
        """The student trained on the whole train split."""
        from harness.kit.clip.student import build_clip_student, train_on_task
        from harness.kit.clip.training import ContrastiveObjective

        model = build_clip_student(student, task, "clip-contrastive", context)
        train_on_task(model, task, ContrastiveObjective(), recipe, context)
        return model


@dataclass(frozen=True)
class ClipDistill(TaughtOptions):
    """open_clip's distillation: contrastive loss plus soft cross-entropy, one to one.

    The teacher's distribution over a batch's images and texts, at its own scale, both ways;
    neither weights nor a temperature, as in open_clip's `DistillClipLoss`. Widths, image sizes and
    tokenizers of teacher and student may differ.
    """

    def fit(
        self, task: TaskData, student: Student, recipe: Recipe, context: StageContext
    ) -> ClipModel:
        """The student trained on the whole train split.

        Raises:
            UsageError: the task has no images with captions, no teacher is named, or teacher or
                student is no CLIP.
            DivergenceError: training left the finite numbers.
        """
        from harness.kit.clip.student import build_clip_student, train_on_task
        from harness_clip_distill.open_clip_objective import OpenClipObjective
        from harness_clip_distill.teaching import teaching

        model = build_clip_student(student, task, "clip-distill", context)
        teach, _ = teaching(self, task, context)
        train_on_task(model, task, OpenClipObjective(teach), recipe, context)
        return model
