"""The options of methods that learn from a teacher; importing them needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.errors import UsageError

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
    teacher_steps: int = 1000
    teacher_batch_size: int = 128
    teacher_learning_rate: float = 1e-3

    modalities: ClassVar[tuple[str, ...]] = ("image-text",)

    def __post_init__(self) -> None:
        if self.teacher_steps < 1 or self.teacher_batch_size < 2:
            raise UsageError(
                f"teacher_steps = {self.teacher_steps} and teacher_batch_size ="
                f" {self.teacher_batch_size} should be 1 or more and 2 or more"
            )
        if not 0 < self.teacher_learning_rate < float("inf"):
            raise UsageError(
                f"teacher_learning_rate = {self.teacher_learning_rate:g} should be positive"
            )

    def teacher_training(self) -> TeacherTraining:
        """The same as `trained_teacher` takes it."""
        from harness.kit.clip.teacher import TeacherTraining

        return TeacherTraining(
            steps=self.teacher_steps,
            batch_size=self.teacher_batch_size,
            learning_rate=self.teacher_learning_rate,
        )
