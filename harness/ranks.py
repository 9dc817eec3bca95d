"""Ranks of methods: how sure they are within a table, and over many tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.stats import CONFIDENCE, MIN_DRAWS, resampled_means

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class RankInterval:
    """The ranks that a method takes when seeds and items are drawn anew; 1 is best."""

    low: int
    high: int


@dataclass(frozen=True)
class AverageRanks:
    """Methods ranked over several data sets.

    ranks: [methods] average rank, 1 is best, ties sharing the mean of their places.
    data_sets: over how many. p_value: Friedman's test that all methods do equally well.
    critical_difference: two average ranks that lie further apart differ (Nemenyi).
    """

    ranks: tuple[float, ...]
    data_sets: int
    statistic: float
    p_value: float
    critical_difference: float

    def cliques(self) -> list[tuple[int, ...]]:
        """Largest groups of methods, by position, best first, within the critical difference."""
        order = sorted(range(len(self.ranks)), key=lambda method: (self.ranks[method], method))
        groups: list[tuple[int, ...]] = []
        reached = 0
        for start, first in enumerate(order):
            limit = self.ranks[first] + self.critical_difference
            end = sum(self.ranks[method] <= limit for method in order)
            if end - start > 1 and end > reached:
                groups.append(tuple(order[start:end]))
                reached = end
        return groups


def rank_intervals(
    scores: np.ndarray, *, seed: int = 0, draws: int = MIN_DRAWS, confidence: float = CONFIDENCE
) -> tuple[RankInterval, ...]:
    """Percentile intervals of the methods' ranks under a bootstrap of seeds and items.

    scores: [methods, seeds, items]; every draw takes the same seeds and items for all methods.
    A method's rank in a draw is 1 + the number of methods with a higher mean.

    Raises:
        ValueError: an axis is empty, a score is not finite, or too few draws.
    """
    import numpy as np

    if scores.ndim != 3 or scores.size == 0:
        raise ValueError(f"need [methods, seeds, items], got shape {scores.shape}")
    means = resampled_means(scores, seed=seed, draws=draws)
    higher = means[:, None, :] > means[:, :, None] + 1e-12
    ranks = 1 + higher.sum(axis=2)
    tail = (1 - confidence) / 2
    low, high = np.quantile(ranks, [tail, 1 - tail], axis=0, method="nearest")
    return tuple(RankInterval(int(a), int(b)) for a, b in zip(low, high, strict=True))


def average_ranks(scores: Sequence[Sequence[float]], *, alpha: float = 0.05) -> AverageRanks:
    """Friedman's test and the Nemenyi critical difference (Demšar 2006, section 3.2.2).

    scores: [data sets, methods], higher is better, every method on every data set.

    Raises:
        ValueError: fewer than two data sets or three methods, or a value that is not finite.
    """
    import numpy as np
    from scipy.stats import friedmanchisquare, rankdata, studentized_range

    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 2 or not np.isfinite(table).all():
        raise ValueError("need finite scores of every method on every data set")
    data_sets, methods = table.shape
    if data_sets < 2 or methods < 3:
        raise ValueError(f"{methods} methods on {data_sets} data sets are too few to rank")
    ranks = rankdata(-table, axis=1).mean(axis=0)
    if np.ptp(table, axis=1).max() == 0:
        statistic, p_value = 0.0, 1.0
    else:
        statistic, p_value = friedmanchisquare(*table.T)
    quantile = float(studentized_range.ppf(1 - alpha, methods, np.inf)) / 2**0.5
    distance = quantile * (methods * (methods + 1) / (6 * data_sets)) ** 0.5
    return AverageRanks(
        tuple(float(r) for r in ranks), data_sets, float(statistic), float(p_value), distance
    )
