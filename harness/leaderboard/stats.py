"""Statistics over seeds and items: t, bootstrap and crossed intervals, paired tests, Holm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

CONFIDENCE = 0.95
MIN_DRAWS = 2000
_CONSTANT = 1e-12
"""Scores are fractions: a spread below this is rounding in a sum, not a difference."""
_ITEMS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Interval:
    """A two-sided confidence interval."""

    low: float
    high: float

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2

    def covers(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True)
class MeanEstimate:
    """A mean over `n` independent values; `sd` has ddof = 1; both are None when n = 1."""

    mean: float
    n: int
    sd: float | None
    interval: Interval | None


@dataclass(frozen=True)
class PairedDifference:
    """The mean of first - second over `n` pairs, with its t interval and two-sided p-value.

    p_value: None when there is nothing to test with: one pair, or differences that are all
    equal but not zero, whose spread of nothing would pass for certainty.
    """

    mean: float
    n: int
    sd: float | None
    interval: Interval | None
    p_value: float | None


@dataclass(frozen=True)
class CrossedMean:
    """A mean with its standard error over seeds and items, and the error's degrees of freedom."""

    mean: float
    error: float
    freedom: float

    def interval(self, confidence: float = CONFIDENCE) -> Interval:
        """The two-sided t interval."""
        margin = _t_quantile((1 + confidence) / 2, self.freedom) * self.error
        return Interval(self.mean - margin, self.mean + margin)

    @property
    def p_value(self) -> float:
        """Two-sided, that the mean is nought; 1 when nothing at all differs."""
        if self.error == 0:
            return 1.0 if abs(self.mean) < _CONSTANT else 0.0
        return _two_sided(abs(self.mean) / self.error, self.freedom)


def estimate_mean(values: Sequence[float], *, confidence: float = CONFIDENCE) -> MeanEstimate:
    """Mean, sd and Student's t interval mean ± t(n-1) sd / sqrt(n).

    Raises:
        ValueError: no values, or one that is not finite.
    """
    import numpy as np

    array = _finite_vector(values)
    n = len(array)
    mean = float(np.mean(array))
    if n == 1:
        return MeanEstimate(mean, n, None, None)
    sd = 0.0 if np.ptp(array) < _CONSTANT else float(np.std(array, ddof=1))
    margin = _t_quantile((1 + confidence) / 2, n - 1) * sd / n**0.5
    return MeanEstimate(mean, n, sd, Interval(mean - margin, mean + margin))


def prediction_interval(
    values: Sequence[float], *, confidence: float = CONFIDENCE
) -> Interval | None:
    """Where one further value would lie: mean ± t(n-1) sd sqrt(1 + 1/n); None for one value.

    Raises:
        ValueError: no values, or one that is not finite.
    """
    estimate = estimate_mean(values, confidence=confidence)
    if estimate.interval is None:
        return None
    margin = estimate.interval.half_width * (estimate.n + 1) ** 0.5
    return Interval(estimate.mean - margin, estimate.mean + margin)


def paired_difference(
    first: Sequence[float], second: Sequence[float], *, confidence: float = CONFIDENCE
) -> PairedDifference:
    """Compares two lists of values measured under the same seeds, pair by pair.

    Raises:
        ValueError: the lists differ in length, are empty, or hold a value that is not finite.
    """
    a, b = _finite_vector(first), _finite_vector(second)
    if len(a) != len(b):
        raise ValueError(f"pairs need equal lengths, got {len(a)} and {len(b)}")
    estimate = estimate_mean([float(d) for d in a - b], confidence=confidence)
    return PairedDifference(
        estimate.mean, estimate.n, estimate.sd, estimate.interval, _t_test(estimate)
    )


def seeds_to_tell(effect: float, alpha: float, power: float, *, most: int = 1000) -> int | None:
    """The fewest pairs with which a two-sided paired t test finds a difference this often.

    The power of n pairs is that of a noncentral t with n - 1 degrees of freedom and
    noncentrality effect sqrt(n) (Cohen 1988, chapter 2). None where `most` do not suffice.

    Args:
        effect: the mean difference over the differences' standard deviation.
        alpha: the level of the test; power: how often, a share.
    """
    from scipy.special import nctdtr

    for n in range(2, most + 1):
        shift, bound = abs(effect) * n**0.5, _t_quantile(1 - alpha / 2, n - 1)
        missed = nctdtr(n - 1, shift, bound) - nctdtr(n - 1, shift, -bound)
        if 1 - missed >= power:
            return n
    return None


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """P-values adjusted for being one family, in the order given.

    The i-th smallest of m is multiplied by m - i + 1, made non-decreasing and capped at 1
    (Holm, "A simple sequentially rejective multiple test procedure", 1979).

    Raises:
        ValueError: a value outside [0, 1].
    """
    if any(not 0 <= p <= 1 for p in p_values):
        raise ValueError(f"p-values lie in [0, 1], got {list(p_values)}")
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for position, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        running = max(running, min(1.0, (len(p_values) - position) * p_values[index]))
        adjusted[index] = running
    return tuple(adjusted)


def mcnemar(first_right: Sequence[bool], second_right: Sequence[bool]) -> float:
    """Exact two-sided p-value that two runs on the same items are right equally often.

    Only the items that exactly one of them gets right carry information; without any, p = 1.

    Raises:
        ValueError: the runs have different numbers of items.
    """
    import numpy as np
    from scipy.stats import binomtest

    a, b = np.asarray(first_right, dtype=bool), np.asarray(second_right, dtype=bool)
    if a.shape != b.shape:
        raise ValueError(f"runs need the same items, got {a.shape} and {b.shape}")
    only_first, only_second = int(np.sum(a & ~b)), int(np.sum(b & ~a))
    disagreements = only_first + only_second
    if disagreements == 0:
        return 1.0
    return float(binomtest(min(only_first, only_second), disagreements, 0.5).pvalue)


def bootstrap_difference(
    first: np.ndarray,
    second: np.ndarray,
    *,
    seed: int = 0,
    draws: int = MIN_DRAWS,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Percentile interval of mean(first) - mean(second) over both new seeds and new items.

    first, second: [seeds, items] item scores, row s of both measured under the same seed and
    column i on the same item. Each draw takes seeds with replacement, then items with
    replacement, the same for both methods. All drawn seeds see the one drawn list of items,
    because the runs share one test set: a list for each seed would average away the sampling
    error of the items.

    Raises:
        ValueError: shapes differ, an axis is empty, values are not finite, or draws < 2000.
    """
    import numpy as np

    if first.shape != second.shape or first.ndim != 2 or first.size == 0:
        raise ValueError(f"need equal [seeds, items] arrays, got {first.shape}, {second.shape}")
    if draws < MIN_DRAWS:
        raise ValueError(f"a percentile interval needs {MIN_DRAWS} draws or more, got {draws}")
    difference = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    if not np.isfinite(difference).all():
        raise ValueError("item scores must be finite")
    generator = np.random.default_rng(seed)
    seeds, items = difference.shape
    block = max(1, _ITEMS_AT_ONCE // items)
    means = []
    for start in range(0, draws, block):
        rows = min(block, draws - start)
        seed_counts = _resample_counts(generator, rows, seeds)
        item_counts = _resample_counts(generator, rows, items)
        drawn = item_counts @ difference.T
        means.append((seed_counts * drawn).sum(axis=1) / (seeds * items))
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return Interval(float(low), float(high))


def crossed_mean(values: np.ndarray) -> CrossedMean | None:
    """A mean over both new seeds and new items, where all seeds share the items.

    values: [seeds, items], such as the differences of two methods' item scores. The mean's
    variance is estimated under a crossed random-effects model as (MS_seeds + MS_items -
    MS_rest) / (seeds * items), with Satterthwaite's degrees of freedom ("An approximate
    distribution of estimates of variance components", 1946). Unlike an interval over seeds
    alone, it speaks of other test items too; unlike a percentile bootstrap it keeps its
    coverage with three seeds.

    Returns:
        None for one seed or one item, whose spread nothing tells.

    Raises:
        ValueError: the array is not [seeds, items], is empty, or holds a value that is not
            finite.
    """
    import numpy as np

    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim != 2 or scores.size == 0:
        raise ValueError(f"need a [seeds, items] array, got shape {scores.shape}")
    if not np.isfinite(scores).all():
        raise ValueError("item scores must be finite")
    seeds, items = scores.shape
    if seeds == 1 or items == 1:
        return None
    mean = float(scores.mean())
    by_seed, by_item = scores.mean(axis=1) - mean, scores.mean(axis=0) - mean
    rest = scores - mean - by_seed[:, None] - by_item
    degrees = np.array([seeds - 1, items - 1, (seeds - 1) * (items - 1)])
    squares = np.array([items * np.sum(by_seed**2), seeds * np.sum(by_item**2), np.sum(rest**2)])
    # each mean square's share of the variance of the mean
    shares = squares / degrees / scores.size
    variance = max(float(shares[0] + shares[1] - shares[2]), float(shares[2]))
    if variance < _CONSTANT**2:
        return CrossedMean(mean, 0.0, float(degrees[0]))
    freedom = variance**2 / float(np.sum(shares**2 / degrees))
    return CrossedMean(mean, variance**0.5, freedom)


def crossed_interval(values: np.ndarray) -> Interval | None:
    """The 95 % interval of `crossed_mean`, with the same arguments and errors."""
    mean = crossed_mean(values)
    return None if mean is None else mean.interval()


def sampling_variance(scores: np.ndarray) -> float:
    """Variance of a mean over N items due to which items were drawn; p (1 - p) / N for 0/1.

    Raises:
        ValueError: no items.
    """
    import numpy as np

    if len(scores) == 0:
        raise ValueError("no items")
    return float(np.var(np.asarray(scores, dtype=np.float64))) / len(scores)


def _resample_counts(generator: np.random.Generator, draws: int, size: int) -> np.ndarray:
    """[draws, size] float64: how often each of `size` things is in a resample of that size."""
    import numpy as np

    picks = generator.integers(0, size, size=(draws, size))
    picks += np.arange(draws)[:, None] * size
    counts = np.bincount(picks.ravel(), minlength=draws * size)
    return counts.reshape(draws, size).astype(np.float64)


def _t_test(difference: MeanEstimate) -> float | None:
    if difference.sd is None:
        return None
    if difference.sd == 0:
        return 1.0 if abs(difference.mean) < _CONSTANT else None
    t = abs(difference.mean) / (difference.sd / difference.n**0.5)
    return _two_sided(t, difference.n - 1)


def _two_sided(t: float, degrees: float) -> float:
    from scipy.special import stdtr

    return float(2 * stdtr(degrees, -t))


def _t_quantile(probability: float, degrees: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(degrees, probability))


def _finite_vector(values: Sequence[float]) -> np.ndarray:
    import numpy as np

    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"need a non-empty list of values, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"values must be finite, got {array.tolist()}")
    return array
