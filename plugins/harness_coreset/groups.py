"""Groups of candidates and their quotas: by class, or all together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.budget import Budget
from harness.types import LABEL_COLUMN, TaskData


@dataclass(frozen=True)
class Group:
    """Rows that compete for `quota` places.

    name: for seeds and progress; members: [m] positions among the rows considered.
    """

    name: str
    members: np.ndarray
    quota: int


def shares(task: TaskData, budget: Budget, *, balanced: bool) -> list[int]:
    """Rows wanted of each class; all zero when classes do not matter or there are none."""
    if not task.label_names:
        return [0]
    counts = task.class_counts()
    return budget.per_class(counts) if balanced else [0] * len(counts)


def split_groups(labels: np.ndarray, wanted: Sequence[int], total: int) -> list[Group]:
    """One group a class when rows are wanted of classes, otherwise one of all rows.

    labels: [m] of the rows considered.
    """
    if not any(wanted):
        return [Group("all", np.arange(len(labels)), total)]
    return [
        Group(str(label), np.flatnonzero(labels == label), quota)
        for label, quota in enumerate(wanted)
        if quota
    ]


def train_labels(task: TaskData) -> np.ndarray:
    """[n] labels of the train split; all zero for a task without classes."""
    if not task.label_names:
        return np.zeros(len(task.train), dtype=np.int64)
    return np.asarray(task.train[LABEL_COLUMN], dtype=np.int64)
