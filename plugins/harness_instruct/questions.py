"""Multiple-choice questions, and the instructions made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any

from harness.data.texts import require_column
from harness.errors import HarnessError
from harness.kit.text.templates import Template
from harness_instruct.instructions import Instruction

if TYPE_CHECKING:
    from datasets import Dataset

QUESTION_FIELDS = ("question", "options", "subject")
"""What a template of questions may ask for; `options` are lines such as `A. water`."""


@dataclass(frozen=True)
class Question:
    """A question with its choices and the number of the right one."""

    question: str
    choices: tuple[str, ...]
    answer: int
    subject: str = ""

    def instruction(self, template: Template, *, letters: bool) -> Instruction:
        """The question as a prompt; the completion is the right choice, or its letter."""
        marks = tuple(ascii_uppercase[: len(self.choices)])
        lines = [f"{mark}. {text}" for mark, text in zip(marks, self.choices, strict=True)]
        values = {
            "question": self.question,
            "options": "\n".join(lines),
            "subject": self.subject.replace("_", " "),
        }
        choices = marks if letters else self.choices
        return Instruction(
            template.fill(values), choices[self.answer], choices, self.answer, self.subject
        )


def read_questions(table: Dataset, where: str) -> list[Question]:
    """Questions of a table with `question`, `choices`, an answer and perhaps `subject`.

    `choices` is a list of texts, or `{text: [...], label: [...]}` with the label of the right
    one in `answerKey`; `answer` is a number from 0.

    Raises:
        UsageError: a column is missing.
        HarnessError: a row whose question or choices are blank, or whose answer is no choice.
    """
    key = "answerKey" if "answerKey" in table.column_names else "answer"
    for column in ("question", "choices", key):
        require_column(table, column, where)
    subjects = table["subject"][:] if "subject" in table.column_names else [""] * len(table)
    rows = zip(table["question"][:], table["choices"][:], table[key][:], subjects, strict=True)
    return [_question(*row, where=f"row {n} of {where}") for n, row in enumerate(rows, start=1)]


def _question(question: Any, choices: Any, answer: Any, subject: Any, *, where: str) -> Question:
    labels: Sequence[Any] = ()
    if isinstance(choices, Mapping):
        choices, labels = choices.get("text"), choices.get("label") or ()
    texts = tuple(c.strip() for c in choices or () if isinstance(c, str) and c.strip())
    if not isinstance(question, str) or not question.strip():
        raise HarnessError(f"{where} has no question")
    if len(texts) < 2 or len(texts) != len(choices):
        raise HarnessError(f"{where} has no two choices of text, or a blank one: {choices}")
    number = labels.index(answer) if answer in labels else answer
    if not isinstance(number, int) or not 0 <= number < len(texts):
        raise HarnessError(f"{where} has the answer {answer!r}, which is none of its choices")
    return Question(question.strip(), texts, number, str(subject or ""))
