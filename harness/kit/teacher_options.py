"""Which teacher image-text methods learn from, and how it is trained."""

from __future__ import annotations

from dataclasses import dataclass

from harness.errors import UsageError
from harness.types import Recipe


@dataclass(frozen=True)
class TeacherOptions:
    """Which teacher, and how it is trained; methods that agree in these share one.

    teacher: a student, larger as a rule; the suite's when empty. teacher_steps: of the plain
    contrastive loss on the whole train split, 0 for weights that are used as they are;
    teacher_batch_size: rows a step; teacher_learning_rate: at its height, after a tenth of the
    steps, before it falls as a cosine.
    """

    teacher: str = ""
    teacher_steps: int = 2000
    teacher_batch_size: int = 128
    teacher_learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        if self.teacher_steps < 0 or self.teacher_batch_size < 2:
            raise UsageError(
                f"teacher_steps = {self.teacher_steps} and teacher_batch_size ="
                f" {self.teacher_batch_size} should be 0 or more and 2 or more"
            )
        if not 0 < self.teacher_learning_rate < float("inf"):
            raise UsageError(
                f"teacher_learning_rate = {self.teacher_learning_rate:g} should be positive"
            )

    @property
    def teacher_recipe(self) -> Recipe:
        """How the teacher is trained."""
        return Recipe(
            steps=self.teacher_steps,
            batch_size=self.teacher_batch_size,
            learning_rate=self.teacher_learning_rate,
            warmup=0.1,
        )
