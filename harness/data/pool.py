"""The pool of a distilling seed: a random part of the train split, the same for every method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.randomness import derive_seed
from harness.types import LABEL_COLUMN, Split, TaskData

if TYPE_CHECKING:
    import numpy as np


def draw_pool(task: TaskData, share: float, seed: int) -> TaskData:
    """The task with a random `share` of its train rows, in their order; all of them at 1.

    Without a pool, a method that draws nothing chooses one set whatever the seed, and a board
    would judge the method by that one draw of train rows. Each class gives its share, rounded,
    and at least one row. The pool depends on the seed alone, so that methods are paired.
    """
    if share >= 1:
        return task
    import numpy as np

    generator = np.random.default_rng(derive_seed("pool", seed))
    rows = len(task.train)
    labels = np.asarray(task.train[LABEL_COLUMN][:]) if task.label_names else np.zeros(rows, int)
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    drawn = [generator.permutation(own)[: max(1, round(share * len(own)))] for own in members]
    return task.with_pool(np.sort(np.concatenate(drawn)))


def positions_in_whole(
    task: TaskData, split: Split, rows: Sequence[int] | np.ndarray | None
) -> np.ndarray | None:
    """Where a pool's rows lie in the whole train split, if all of them are asked for.

    Then what is computed of the whole split serves every seed. None where there is no pool, or
    where `rows` are fewer, so that the whole split would cost more.
    """
    if split != "train" or task.pool is None:
        return None
    if rows is None:
        return task.pool
    return task.pool[rows] if len(rows) == len(task.pool) else None
