"""What a selection is made for: the validation rows, whole and by subtask."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from datasets import Dataset

from harness.errors import UsageError
from harness.types import TaskData

SUBTASK = "subtask"


def target_rows(task: TaskData) -> Dataset:
    """The rows of validation.

    Raises:
        UsageError: there are none.
    """
    if "validation" not in task.splits or not len(task.validation):
        raise UsageError(
            f"task '{task.name}' has no validation rows, which say what to select for",
            hint="Use a method that looks at the pool alone, such as random or length.",
        )
    return task.validation


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
