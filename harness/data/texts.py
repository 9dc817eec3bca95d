"""Columns of a table: required, read as texts, hashed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from harness.errors import UsageError, did_you_mean
from harness.types import COMPLETION_COLUMN, PROMPT_COLUMN

if TYPE_CHECKING:
    from datasets import Dataset


def require_column(table: Dataset, column: str, where: str) -> None:
    """Raises UsageError when a table lacks a column, naming those it has."""
    if column not in table.column_names:
        raise UsageError(
            f"{where} has no column '{column}'",
            hint=f"{did_you_mean(column, table.column_names)}"
            f" Its columns: {', '.join(table.column_names)}.",
        )


def pairs_of(rows: Dataset) -> list[tuple[str, str]]:
    """The prompt and the completion of each row."""
    return list(zip(rows[PROMPT_COLUMN][:], rows[COMPLETION_COLUMN][:], strict=True))


def joined_texts(rows: Dataset, columns: Sequence[str]) -> list[str]:
    """The texts of each row's columns, one below the other."""
    return ["\n".join(parts) for parts in zip(*(rows[column] for column in columns), strict=True)]


def texts_digest(texts: Iterable[str]) -> str:
    """64 hexadecimal digits that identify some texts in their order."""
    state = hashlib.sha256()
    for text in texts:
        state.update(text.encode())
        state.update(b"\x00")
    return state.hexdigest()
