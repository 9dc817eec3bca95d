"""Which train rows may be chosen, and how many of each class: the same rule for every coreset."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.budget import Budget
from harness.errors import UsageError
from harness.randomness import derive_seed
from harness.types import LABEL_COLUMN, TaskData

_POOL_SEED = derive_seed("coreset pool")


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


def pooled_rows(labels: np.ndarray, pool: int, wanted: Sequence[int], total: int) -> np.ndarray:
    """Sorted positions of about `pool` rows to consider, all of them when `pool` is 0.

    Each class keeps its share of the train split, rounded up, or what is wanted of it when that
    is more. The draw is the same for every method, seed and budget, so that what is computed for
    the pool is shared and a method without randomness stays so.

    Raises:
        UsageError: the pool is smaller than the budget.
    """
    if pool == 0 or pool >= len(labels):
        return np.arange(len(labels))
    if pool < total:
        raise UsageError(f"a pool of {pool} rows is less than the budget of {total} rows")
    shuffled = np.random.default_rng(_POOL_SEED).permutation(len(labels))
    kept = []
    for label, least in enumerate(wanted):
        members = shuffled[labels[shuffled] == label]
        kept.append(members[: max(least, math.ceil(pool * len(members) / len(labels)))])
    return np.sort(np.concatenate(kept))


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
