"""The pool of train rows that a method considers where all would cost too much."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from harness.budget import Budget
from harness.errors import UsageError
from harness.randomness import derive_seed
from harness.types import TaskData

# The name is what the draw came from first; another one would change published results.
_POOL_SEED = derive_seed("coreset pool")


def pooled_rows(labels: np.ndarray, pool: int, wanted: Sequence[int], total: int) -> np.ndarray:
    """Sorted positions of about `pool` rows to consider, all of them when `pool` is 0.

    Each class keeps its share of the train split, rounded up, or what is wanted of it when that
    is more. The draw is the same for every method, seed and budget, so that what is computed for
    the pool is shared and a method without randomness stays so.

    Args:
        labels: [n] of all rows; wanted: rows wanted of each class; total: rows wanted in all.

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


def considered_rows(task: TaskData, budget: Budget, pool: int) -> np.ndarray:
    """`pooled_rows` of a task without classes.

    Raises:
        UsageError: the pool is smaller than the budget, or train is.
    """
    rows = len(task.train)
    return pooled_rows(np.zeros(rows, dtype=np.int64), pool, [0], task.budget_rows(budget))
