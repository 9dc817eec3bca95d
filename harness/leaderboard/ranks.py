"""Rank statistics: rank intervals within a table, Friedman and Nemenyi tests over tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.leaderboard.stats import crossed_mean, holm

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class RankInterval:
    """The places that a method may hold for other seeds and items; 1 is best."""

    low: int
    high: int


@dataclass(frozen=True)
class AverageRanks:
    """Methods ranked over several data sets.

    ranks: [methods] average rank, 1 is best, ties sharing the mean of their places.
    p_value: Friedman's test that all methods do equally well.
    critical_difference: two average ranks that lie further apart differ (Nemenyi).
    """

    ranks: tuple[float, ...]
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


def rank_intervals(scores: np.ndarray, *, alpha: float = 0.05) -> tuple[RankInterval, ...]:
    """The places each method can hold, judged by its paired differences from the others.

    scores: [methods, seeds, items], two seeds and items or more. A method's best place is 1 +
    the number of methods that are better than it, its worst one the number of methods minus
    those that are worse, where `better` and `worse` are tests of `crossed_mean` on the
    differences, Holm-adjusted over that method's comparisons. Its true rank is outside with a
    probability of at most `alpha` (Mogstad, Romano, Shaikh and Wilhelm, "Inference for ranks
    with applications to mobility across neighbourhoods and academic achievement across
    countries", 2024, section 3). A bootstrap of the ranks themselves claims too much.

    Raises:
        ValueError: not [methods, seeds, items] with two seeds and items, or a value that is
            not finite.
    """
    if scores.ndim != 3 or min(scores.shape[1:]) < 2:
        raise ValueError(f"need [methods, seeds, items], got shape {scores.shape}")
    return tuple(_places(scores, method, alpha) for method in range(len(scores)))


def _places(scores: np.ndarray, method: int, alpha: float) -> RankInterval:
    others = [other for other in range(len(scores)) if other != method]
    means = [crossed_mean(scores[other] - scores[method]) for other in others]
    known = [mean for mean in means if mean is not None]
    adjusted = holm([mean.p_value for mean in known])
    differing = [mean.mean for mean, p in zip(known, adjusted, strict=True) if p < alpha]
    better = sum(difference > 0 for difference in differing)
    return RankInterval(1 + better, len(scores) - (len(differing) - better))


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
    p_value = 1.0 if np.ptp(table, axis=1).max() == 0 else friedmanchisquare(*table.T).pvalue
    quantile = float(studentized_range.ppf(1 - alpha, methods, np.inf)) / 2**0.5
    distance = quantile * (methods * (methods + 1) / (6 * data_sets)) ** 0.5
    return AverageRanks(tuple(float(r) for r in ranks), float(p_value), distance)
