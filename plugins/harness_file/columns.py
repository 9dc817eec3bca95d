"""Mapping of a table's columns to those of a task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from harness.errors import UsageError, did_you_mean
from harness.types import LABEL_COLUMN, DistilledData, TaskData

if TYPE_CHECKING:
    from datasets import Dataset


class ColumnNames(Protocol):
    """What a user says about the columns of a table."""

    @property
    def text(self) -> tuple[str, ...]: ...
    @property
    def label(self) -> str: ...
    @property
    def soft_label(self) -> str: ...
    @property
    def weight(self) -> str: ...


@dataclass(frozen=True)
class SetColumns:
    """Where in a table a task's columns are.

    texts: column of the table for each of the task's; soft_label, weight: None where the table
    has no such column.
    """

    task: TaskData
    where: str
    texts: dict[str, str]
    label: str
    soft_label: str | None
    weight: str | None

    def rows(self, table: Dataset) -> DistilledData:
        """The table as a distilled set of the task.

        Raises:
            UsageError: a label that is none of the task's, or a row without a text.
        """
        import pyarrow as pa
        from datasets import Dataset as Table

        columns = {name: pa.array(self._texts(table, own)) for name, own in self.texts.items()}
        if self.task.label_names:
            columns[LABEL_COLUMN] = pa.array(self._labels(table), pa.int64())
        return DistilledData(
            rows=Table(pa.table(columns)),
            soft_labels=self._floats(table, self.soft_label),
            weights=self._floats(table, self.weight),
        )

    def _texts(self, table: Dataset, column: str) -> list[str]:
        values = table[column][:]
        for row, value in enumerate(values, start=1):
            if not isinstance(value, str) or not value.strip():
                raise UsageError(f"row {row} of {self.where} has no text in column '{column}'")
        return values

    def _labels(self, table: Dataset) -> np.ndarray:
        names = self.task.label_names
        known = {str(number): number for number in range(len(names))}
        known |= {name: number for number, name in enumerate(names)}
        labels = [_plain(value) for value in table[self.label][:]]
        for row, label in enumerate(labels, start=1):
            if label not in known:
                shown = ", ".join(f"{number} or {name}" for number, name in enumerate(names))
                raise UsageError(
                    f"row {row} of {self.where} has the label '{label}', which is none of the"
                    " task's",
                    hint=f"The task's: {shown}.",
                )
        return np.array([known[label] for label in labels], dtype=np.int64)

    def _floats(self, table: Dataset, column: str | None) -> np.ndarray | None:
        if column is None:
            return None
        try:
            return np.array(table[column][:], dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"column '{column}' of {self.where} should hold numbers, as many in each row"
            ) from error


def set_columns(
    task: TaskData, present: Sequence[str], names: ColumnNames, where: str
) -> SetColumns:
    """Finds a task's columns among those of a table.

    Raises:
        UsageError: one is missing, or the user names too many or too few texts.
    """
    texts = names.text or task.input_columns
    if len(texts) != len(task.input_columns):
        raise UsageError(
            f"text names {len(texts)} columns, the task has {len(task.input_columns)}:"
            f" {', '.join(task.input_columns)}"
        )
    needed = {
        **dict.fromkeys(texts, "text"),
        **({names.label: "label"} if task.label_names else {}),
    }
    for column, option in needed.items():
        if column not in present:
            raise UsageError(
                f"{where} has no column '{column}'; it has {', '.join(present)}",
                hint=f"--set distiller.file.{option}=COLUMN names another."
                f" {did_you_mean(column, present)}",
            )
    return SetColumns(
        task=task,
        where=where,
        texts=dict(zip(task.input_columns, texts, strict=True)),
        label=names.label,
        soft_label=names.soft_label if names.soft_label in present else None,
        weight=names.weight if names.weight in present else None,
    )


def _plain(value: object) -> str:
    """A label as text; whole numbers without a fraction."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()
