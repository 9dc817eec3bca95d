"""The student `probe`: logistic regression on another student's frozen text vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import UsageError
from harness.options import Positive
from harness.types import StudentInfo, TaskData
from harness_frozen.linear_head import LinearHead
from harness_frozen.linear_student import LinearStudent
from harness_frozen.text_vectors import TextPooling, TextReader

if TYPE_CHECKING:
    from harness.context import StageContext


@dataclass(frozen=True)
class Probe(LinearStudent[TextReader]):
    """Logistic regression on what another student, untrained, makes of the texts.

    A quick student of another architecture: what a set is worth to a model that no distiller
    looked through. Nothing is drawn at random, so seeds differ by their sets alone. The recipe's
    learning rate means nothing here, its steps and batch size bound the rows that are looked at.

    model: the other student, `probe:STUDENT`: a causal language model or a text classifier.
    pooling: how a language model's last hidden states become one vector: their mean, the last, or
        the mean that weights late ones more. A classifier's are averaged.
    penalty: of half the squared weights, against the sum of the rows' cross-entropies; vectors
        are standardised by the training rows first.
    """

    model: str = ""
    pooling: TextPooling = "mean"
    penalty: Positive = 1.0

    def __post_init__(self) -> None:
        if not self.model:
            raise UsageError(
                "student 'probe' needs another student", hint="Write probe:smollm2:135m."
            )

    @property
    def uses_students(self) -> tuple[str, ...]:
        """The student whose vectors it takes."""
        return (self.model,)

    def fingerprint(self) -> str:
        """Nothing of its own: its classifier starts at zero."""
        return "zero"

    def reader(self, task: TaskData, max_length: int, context: StageContext) -> TextReader:
        return TextReader(self.model, task, self.pooling, max_length, context)

    def info(self, reader: TextReader, head: LinearHead) -> StudentInfo:
        return StudentInfo(
            name="probe",
            variant=self.model,
            source=reader.context.student(self.model).fingerprint(),
            parameters=reader.parameters + head.parameters,
        )
