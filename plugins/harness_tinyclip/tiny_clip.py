"""The distiller `tinyclip`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.context import StageContext
from harness.protocols import Student
from harness.types import Recipe, TaskData
from harness_tinyclip.options import TinyClipOptions

if TYPE_CHECKING:
    from harness.kit.clip.model import ClipModel


@dataclass(frozen=True)
class TinyClip(TinyClipOptions):
    """A student that mimics the affinities of a larger CLIP and starts from its weights.

    TinyCLIP (Wu et al. 2023, arXiv 2309.12314): the teacher's distributions of images over texts
    and of texts over images are the targets; the student inherits the leading part of the
    teacher's weights, or what learnt masks leave of them, in one or several stages.
    """

    def fit(
        self, task: TaskData, student: Student, recipe: Recipe, context: StageContext
    ) -> ClipModel:
        """A model of the student's size, trained on the whole train split.

        All stages and the learning of masks share the recipe's steps. With `inherit = auto` the
        model has the teacher's vocabulary, images and depth, as far as the masks leave it, and as
        nearly the student's number of parameters as can be; the number in its info is its own.

        Raises:
            UsageError: the task has no images with captions, teacher or student is no CLIP, the
                student cannot inherit, or the recipe has too few steps for the stages.
            DivergenceError: training left the finite numbers.
        """
        from harness.kit.clip.image_rows import image_text_rows
        from harness.kit.clip.student import build_clip_student
        from harness.kit.clip.teacher import StoredTeacher, teacher_embeddings, trained_teacher
        from harness_tinyclip.mimicking import join_curves
        from harness_tinyclip.stages import ProgressiveTraining

        model = build_clip_student(student, task, "tinyclip", context)
        training = self.teacher_training()
        teacher = trained_teacher(self.teacher, task, training, context)
        stored = teacher_embeddings(self.teacher, task, training, context)
        trained = teacher if self.inherit == "auto" else model
        stages = ProgressiveTraining(
            options=self,
            student=model,
            teacher=teacher,
            pairs=StoredTeacher.of(stored, model.device),
            rows=image_text_rows(task.train, trained.image, context),
            task=task,
            recipe=recipe,
            context=context,
        )
        fitted = stages.run()
        join_curves(stages.curves, context)
        return fitted
