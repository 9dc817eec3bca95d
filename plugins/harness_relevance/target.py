"""The target's rows by subtask, and rows as texts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from datasets import Dataset

SUBTASK = "subtask"


def subtask_members(target: Dataset) -> list[np.ndarray]:
    """The positions of each subtask's rows, subtasks in order of appearance; one without them."""
    if SUBTASK not in target.column_names:
        return [np.arange(len(target))]
    _, first, owners = np.unique(
        np.asarray([str(name) for name in target[SUBTASK][:]]),
        return_index=True,
        return_inverse=True,
    )
    return [np.flatnonzero(owners == subtask) for subtask in np.argsort(first)]


def row_texts(rows: Dataset, columns: Sequence[str]) -> list[str]:
    """The texts of each row's columns, one below the other."""
    return ["\n".join(parts) for parts in zip(*(rows[column] for column in columns), strict=True)]
