"""Top-k within a budget: by score, or in turns of the queries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.budget import Budget
from harness.errors import HarnessError
from harness.types import LABEL_COLUMN, DistilledData, Split, TaskData

_SCORES_AT_ONCE = 1 << 23
"""Scores of some queries held at once: 64 MiB in float64."""


@dataclass(frozen=True)
class CandidateGroup:
    """Train rows that compete with one another.

    members: [m] positions in train, ascending; quota: how many of them are picked.
    """

    members: np.ndarray
    quota: int


@dataclass(frozen=True)
class PickedRows:
    """rows: [k] positions in train; scores: [k] what each was picked for."""

    rows: np.ndarray
    scores: np.ndarray


def budget_places(task: TaskData, budget: Budget) -> list[CandidateGroup]:
    """All of train for the whole budget; with classes, each for its even share.

    Raises:
        UsageError: a budget that train cannot meet.
    """
    if not task.label_names:
        return [CandidateGroup(np.arange(len(task.train)), task.budget_rows(budget))]
    labels = np.asarray(task.train[LABEL_COLUMN], dtype=np.int64)
    shares = enumerate(budget.per_class(task.class_counts()))
    return [CandidateGroup(np.flatnonzero(labels == c), quota) for c, quota in shares if quota]


def highest(scores: np.ndarray, count: int) -> np.ndarray:
    """Positions of the `count` highest scores, highest first, the lowest position among equals.

    Scores that are not finite are left out, so there may be fewer.
    """
    usable = np.flatnonzero(np.isfinite(scores))
    falling = -scores[usable]
    if count < len(usable):
        within = falling <= np.partition(falling, count - 1)[count - 1]
        usable, falling = usable[within], falling[within]
    return usable[np.argsort(falling, kind="stable")[:count]]


def pick_highest(scores: np.ndarray, places: Sequence[CandidateGroup]) -> PickedRows:
    """The rows of highest score in each of the places.

    Args:
        scores: [n] of all train rows; what is not finite is never picked.

    Raises:
        HarnessError: too few scores are finite.
    """
    rows = []
    for group in places:
        best = highest(scores[group.members], group.quota)
        _require_enough(len(best), group)
        rows.append(group.members[best])
    picked = np.concatenate(rows)
    return PickedRows(picked, scores[picked])


def pick_in_turns(blocks: Iterable[np.ndarray], places: Sequence[CandidateGroup]) -> PickedRows:
    """Round robin: each query in its turn takes the row it scores highest of those left.

    Args:
        blocks: [n, b] scores of all train rows for b queries each, queries in their order.

    Raises:
        HarnessError: a query finds too few finite scores.
    """
    rankings: list[list[PickedRows]] = [[] for _ in places]
    for block in blocks:
        for query in block.T:
            for ranking, group in zip(rankings, places, strict=True):
                best = group.members[highest(query[group.members], group.quota)]
                _require_enough(len(best), group)
                ranking.append(PickedRows(best, query[best]))
    rows: list[int] = []
    scores: list[float] = []
    for ranking, group in zip(rankings, places, strict=True):
        for row, score in _taken(ranking, group.quota):
            rows.append(row)
            scores.append(score)
    return PickedRows(np.array(rows, dtype=np.int64), np.array(scores))


def query_blocks(rows: int, queries: int) -> Iterator[slice]:
    """Slices of the queries, so that the scores of one slice for all rows fit into memory."""
    step = max(1, _SCORES_AT_ONCE // rows)
    for start in range(0, queries, step):
        yield slice(start, min(start + step, queries))


def spread(values: np.ndarray, rows: np.ndarray, total: int) -> np.ndarray:
    """[total, ...] of which `rows` have `values`, [m, ...], and all others NaN: never picked."""
    whole = np.full((total, *values.shape[1:]), np.nan, dtype=values.dtype)
    whole[rows] = values
    return whole


def picked_rows(
    task: TaskData,
    picked: PickedRows,
    used: tuple[Split, ...],
    report: Mapping[str, float | int | str],
) -> DistilledData:
    """The selection, reporting the mean score of what was picked."""
    everything = {"mean_score_chosen": float(picked.scores.mean()), **report}
    return replace(DistilledData.select(task, picked.rows, report=everything), used_splits=used)


def score_report(scores: np.ndarray) -> dict[str, float | int]:
    """The mean of the finite scores and how many are not."""
    usable = np.isfinite(scores)
    return {"mean_score": float(scores[usable].mean()), "rows_without_score": int((~usable).sum())}


def _taken(rankings: Sequence[PickedRows], quota: int) -> Iterator[tuple[int, float]]:
    """Rows and scores as the turns go; each ranking is as long as the quota or longer."""
    taken: set[int] = set()
    left = [zip(r.rows.tolist(), r.scores.tolist(), strict=True) for r in rankings]
    while True:
        for ranking in left:
            if len(taken) == quota:
                return
            row, score = next((row, score) for row, score in ranking if row not in taken)
            taken.add(row)
            yield row, score


def _require_enough(found: int, group: CandidateGroup) -> None:
    if found < group.quota:
        raise HarnessError(
            f"only {found} of {len(group.members)} rows have a finite score, and the budget asks"
            f" for {group.quota}",
            hint="Lower the budget, or choose another proxy: this one overflows on these texts.",
        )
