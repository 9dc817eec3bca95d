"""The target's rows by subtask."""

from __future__ import annotations

import numpy as np
from datasets import Dataset

from harness.types import SUBTASK_COLUMN


def subtask_members(target: Dataset) -> list[np.ndarray]:
    """The positions of each subtask's rows, subtasks in order of appearance; one without them."""
    if SUBTASK_COLUMN not in target.column_names:
        return [np.arange(len(target))]
    _, first, owners = np.unique(
        np.asarray([str(name) for name in target[SUBTASK_COLUMN][:]]),
        return_index=True,
        return_inverse=True,
    )
    return [np.flatnonzero(owners == subtask) for subtask in np.argsort(first)]
