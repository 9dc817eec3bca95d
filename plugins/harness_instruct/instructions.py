"""Instruction rows: prompts and completions, from tables as found to splits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.data.texts import require_column
from harness.errors import UsageError
from harness.kit.text.templates import Template
from harness.types import (
    ANSWER_COLUMN,
    CHOICES_COLUMN,
    COMPLETION_COLUMN,
    PROMPT_COLUMN,
    SUBTASK_COLUMN,
)

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class Instruction:
    """One row: what is asked, what is answered, and for multiple choice among what.

    answer: the number of the right choice, -1 where there are no choices.
    """

    prompt: str
    completion: str
    choices: tuple[str, ...] = ()
    answer: int = -1
    subtask: str = ""


def instruction_table(rows: Sequence[Instruction], scoring: Iterable[str] = ()) -> Dataset:
    """A table in memory with `prompt`, `completion` and the scoring columns asked for."""
    import pyarrow as pa
    from datasets import Dataset

    wanted = set(scoring)
    columns = {
        PROMPT_COLUMN: pa.array([row.prompt for row in rows], pa.string()),
        COMPLETION_COLUMN: pa.array([row.completion for row in rows], pa.string()),
    }
    if CHOICES_COLUMN in wanted:
        columns[CHOICES_COLUMN] = pa.array([list(r.choices) for r in rows], pa.list_(pa.string()))
        columns[ANSWER_COLUMN] = pa.array([row.answer for row in rows], pa.int64())
    if SUBTASK_COLUMN in wanted:
        columns[SUBTASK_COLUMN] = pa.array([row.subtask for row in rows], pa.string())
    return Dataset(pa.table(columns))


def read_columns(table: Dataset, names: Iterable[str], where: str) -> list[dict[str, str]]:
    """The rows' values of some columns as text; an absent value reads as the empty text.

    Raises:
        UsageError: a column is missing, or holds something that is neither text nor a number.
    """
    columns: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        require_column(table, name, where)
        columns[name] = [
            _text(value, f"row {number} of {where}, column '{name}',")
            for number, value in enumerate(table[name][:], start=1)
        ]
    return [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]


def read_instructions(
    table: Dataset, prompt: Template, completion: Template, where: str
) -> list[Instruction]:
    """Rows made by two templates from a table's columns.

    Raises:
        UsageError: a template asks for a column that is not there.
    """
    for template in (prompt, completion):
        template.check(table.column_names, where)
    values = read_columns(table, (*prompt.fields, *completion.fields), where)
    return [Instruction(prompt.fill(row), completion.fill(row)) for row in values]


def _text(value: Any, where: str) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise UsageError(f"{where} is not text: {value!r}")
