"""The options of methods that learn from a teacher; importing them needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from annotated_types import Ge

from harness.options import Count, FinitePositive

if TYPE_CHECKING:
    from harness.kit.clip.teacher import TeacherTraining


@dataclass(frozen=True)
class TeacherOptions:
    """Which teacher, and how it is trained; methods that agree in these share one.

    teacher: a student, larger as a rule, that is trained first; the suite's when empty.
    teacher_steps, teacher_batch_size, teacher_learning_rate: of that training, on the whole train
    split by the plain contrastive loss.
    """

    teacher: str = ""
    teacher_steps: Count = 1000
    teacher_batch_size: Annotated[int, Ge(2)] = 128
    teacher_learning_rate: FinitePositive = 1e-3

    modalities: ClassVar[tuple[str, ...]] = ("image-text",)

    def teacher_training(self) -> TeacherTraining:
        """The same as `trained_teacher` takes it."""
        from harness.kit.clip.teacher import TeacherTraining

        return TeacherTraining(
            steps=self.teacher_steps,
            batch_size=self.teacher_batch_size,
            learning_rate=self.teacher_learning_rate,
        )
