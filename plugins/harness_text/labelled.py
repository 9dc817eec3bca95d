"""Labelled texts, from tables as found to splits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.data.texts import require_column
from harness.errors import HarnessError, UsageError
from harness.types import LABEL_COLUMN

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class LabelledTexts:
    """n rows: their texts by input column, and their labels, [n] int64."""

    texts: Mapping[str, Sequence[str]]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, positions: Sequence[int]) -> LabelledTexts:
        """The rows at some positions, in the order of these."""
        texts = {name: [values[i] for i in positions] for name, values in self.texts.items()}
        return LabelledTexts(texts, self.labels[positions])

    def without_empty(self) -> LabelledTexts:
        """The rows in which every text holds more than blanks."""
        empty = {i for _, i in empty_texts(self.texts)}
        if not empty:
            return self
        return self.take([i for i in range(len(self)) if i not in empty])

    def dataset(self) -> Dataset:
        """A table in memory with the input columns and `label`."""
        import pyarrow as pa
        from datasets import Dataset

        columns = {name: pa.array(values, pa.string()) for name, values in self.texts.items()}
        return Dataset(pa.table({**columns, LABEL_COLUMN: pa.array(self.labels, pa.int64())}))


def empty_texts(texts: Mapping[str, Sequence[str]]) -> list[tuple[str, int]]:
    """Column and position of every text that is empty or blank."""
    return [
        (name, i)
        for name, values in texts.items()
        for i, value in enumerate(values)
        if not value or value.isspace()
    ]


def read_texts(rows: Dataset, columns: Sequence[str], where: str) -> dict[str, list[str]]:
    """Text columns of a table; an absent value reads as the empty text.

    Raises:
        UsageError: a column is missing, or holds something that is not text.
    """
    texts = {}
    for column in columns:
        require_column(rows, column, where)
        values = rows[column][:]
        texts[column] = _strings(values, f"column '{column}' of {where}")
    return texts


def read_integer_labels(rows: Dataset, classes: int, where: str) -> np.ndarray:
    """The column `label` as [n] int64 in [0, classes).

    Raises:
        UsageError: no such column.
        HarnessError: a value that is not such an integer.
    """
    require_column(rows, LABEL_COLUMN, where)
    values = rows[LABEL_COLUMN][:]
    for position, value in enumerate(values):
        if type(value) is not int or not 0 <= value < classes:
            raise HarnessError(
                f"row {position + 1} of {where} has the label {value!r},"
                f" expected an integer in [0, {classes})"
            )
    return np.asarray(values, dtype=np.int64)


def _strings(values: Iterable[Any], where: str) -> list[str]:
    strings = []
    for position, value in enumerate(values):
        if value is not None and not isinstance(value, str):
            raise UsageError(f"{where} is not text: row {position + 1} holds {value!r}")
        strings.append(value or "")
    return strings
