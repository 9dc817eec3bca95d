"""Item-level comparison: bootstrap and crossed intervals, McNemar's test, largest differences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.comparison.findings import Counts, ItemComparison, ItemScores, McNemar
from harness.leaderboard.stats import bootstrap_difference, crossed_interval, mcnemar
from harness.records.record import Record

if TYPE_CHECKING:
    import numpy as np

RunPairs = Sequence[tuple[Record, Record]]
"""Runs of A and of B under the same seeds, in the order of the seeds."""
_NO_DIFFERENCE = 1e-12


def why_not_items(runs: RunPairs) -> str:
    """Why runs cannot be compared item by item, or nothing."""
    import numpy as np

    records = [record for pair in runs for record in pair]
    if any("score" not in record.items for record in records):
        return "some runs kept no item scores"
    prints = {record.task.test_fingerprint for record in records}
    if len(prints) > 1:
        shown = " and ".join(sorted(one[:12] for one in prints))
        return f"the test items are not the same (fingerprints {shown})"
    lengths = {record.items["score"].length for record in records}
    if len(lengths) > 1:
        return f"the runs scored different numbers of items ({_numbers(lengths)})"
    if lengths == {0}:
        return "there are no items"
    if not all(np.isfinite(record.item_scores).all() for record in records):
        return "some item scores are not finite numbers"
    return ""


def compare_items(runs: RunPairs, shown: int) -> ItemComparison:
    """Paired outcomes of runs that `why_not_items` has nothing against.

    shown: how many items to name on either side, those with the largest differences first.
    """
    import numpy as np

    first = np.stack([a.item_scores for a, _ in runs]).astype(np.float64)
    second = np.stack([b.item_scores for _, b in runs]).astype(np.float64)
    is_binary = bool(np.isin(first, (0, 1)).all() and np.isin(second, (0, 1)).all())
    by_seed = [_by_seed(runs, side) for side in (first, second)]
    mean_first, mean_second = (side.mean(axis=0) for side in by_seed)
    return ItemComparison(
        items=first.shape[1],
        runs=len(runs),
        difference=float(np.mean(mean_first - mean_second)),
        bootstrap=bootstrap_difference(*by_seed) if len(by_seed[0]) > 1 else None,
        crossed=crossed_interval(by_seed[0] - by_seed[1]),
        counts=_counts(first, second) if is_binary else None,
        mcnemar=_mcnemar(runs, first, second) if is_binary else (),
        always_first=int(np.sum((first == 1).all(axis=0) & (second == 0).all(axis=0))),
        always_second=int(np.sum((first == 0).all(axis=0) & (second == 1).all(axis=0))),
        most_first=_most(mean_first, mean_second, mean_first - mean_second, shown),
        most_second=_most(mean_first, mean_second, mean_second - mean_first, shown),
    )


def _by_seed(runs: RunPairs, scores: np.ndarray) -> np.ndarray:
    """[distilling seeds, items]: the scores of a seed's fitting seeds are averaged."""
    import numpy as np

    seeds = np.array([a.distill_seed for a, _ in runs])
    return np.stack([scores[seeds == seed].mean(axis=0) for seed in np.unique(seeds)])


def _counts(first: np.ndarray, second: np.ndarray) -> Counts:
    a, b = first == 1, second == 1
    return Counts(
        both=int((a & b).sum()),
        only_first=int((a & ~b).sum()),
        only_second=int((b & ~a).sum()),
        neither=int((~a & ~b).sum()),
    )


def _mcnemar(runs: RunPairs, first: np.ndarray, second: np.ndarray) -> tuple[McNemar, ...]:
    tests = []
    for (record, _), a, b in zip(runs, first == 1, second == 1, strict=True):
        counts = int((a & ~b).sum()), int((b & ~a).sum())
        p_value = mcnemar(a.tolist(), b.tolist())
        tests.append(McNemar(record.distill_seed, record.fit_seed, *counts, p_value))
    return tuple(tests)


def _most(
    first: np.ndarray, second: np.ndarray, lead: np.ndarray, shown: int
) -> tuple[ItemScores, ...]:
    """The items with the largest lead; equal ones in the order of the test split."""
    import numpy as np

    order = np.argsort(-lead, kind="stable")[:shown]
    return tuple(
        ItemScores(int(i), float(first[i]), float(second[i]))
        for i in order
        if lead[i] > _NO_DIFFERENCE
    )


def _numbers(values: set[int]) -> str:
    return " and ".join(f"{value:,}" for value in sorted(values))
