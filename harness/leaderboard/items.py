"""Item outcomes in a table: sampling error of the test set, and ranks on resampled items."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from harness.leaderboard.grouping import RowGroup
from harness.leaderboard.ranks import RankInterval, rank_intervals
from harness.leaderboard.stats import Interval, crossed_interval, sampling_variance
from harness.records.record import Record

if TYPE_CHECKING:
    import numpy as np

Measure = Callable[[Record], float]
"""A metric of a record, as a fraction."""


def item_matrix(group: RowGroup, measure: Measure) -> np.ndarray | None:
    """[distilling seeds, items] item scores; None where the measure is not their mean."""
    import numpy as np

    for record in group.records:
        if "score" not in record.items or len(record.item_scores) == 0:
            return None
        if abs(float(np.mean(record.item_scores, dtype=np.float64)) - measure(record)) > 1e-6:
            return None
    rows = group.items_by_seed()
    if not rows or len({len(row) for row in rows.values()}) > 1:
        return None
    return np.stack([rows[seed] for seed in sorted(rows)])


def sampling_sd(group: RowGroup) -> float:
    """sqrt of the mean over runs of the variance that drawing other items would give."""
    import numpy as np

    scores = [record.item_scores for record in group.records]
    return float(np.mean([sampling_variance(items) for items in scores])) ** 0.5


def difference_elsewhere(
    own: RowGroup, other: RowGroup, matrices: tuple[np.ndarray | None, np.ndarray | None]
) -> Interval | None:
    """The interval of own - other for other seeds and other items of the same test set."""
    first, second = matrices
    if first is None or second is None or not _share_items((own, other)):
        return None
    return crossed_interval(first - second) if first.shape == second.shape else None


def ranks_elsewhere(
    groups: Sequence[RowGroup], matrices: Sequence[np.ndarray | None]
) -> list[RankInterval | None]:
    """The ranks that each of some complete rows takes with other seeds and items."""
    import numpy as np

    known = [matrix for matrix in matrices if matrix is not None]
    if len(known) < len(matrices) or len(known) < 2 or not _share_items(groups):
        return [None] * len(groups)
    if len({matrix.shape for matrix in known}) > 1 or min(known[0].shape) == 1:
        return [None] * len(groups)
    return list(rank_intervals(np.stack(known)))


def _share_items(groups: Sequence[RowGroup]) -> bool:
    return len({record.task.test_fingerprint for g in groups for record in g.records}) == 1
