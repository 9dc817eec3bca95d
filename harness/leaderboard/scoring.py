"""The numbers of a table's rows: means, comparisons with the baseline, ranks and costs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from harness.budget import Budget
from harness.leaderboard.grouping import RowGroup
from harness.leaderboard.table import Comparison, Row, RowCost, SetSize, Verdict
from harness.record import Record
from harness.stats import estimate_mean, holm, paired_difference, sampling_variance

if TYPE_CHECKING:
    import numpy as np

SIGNIFICANCE = 0.05
_SAME = 1e-9
"""Means closer than this are a tie: sums of the same fractions in another order."""


def score_rows(groups: Sequence[RowGroup], *, baseline: str, reference: str) -> tuple[Row, ...]:
    """One finished row for each group: by budget, best first, incomplete ones after, reference
    last."""
    baselines = {b: _baseline(groups, b, baseline) for b in {group.budget for group in groups}}
    rows = [_measure(group, baselines[group.budget], reference) for group in groups]
    return tuple(sorted(_rank(_adjust(rows)), key=_position))


def _baseline(groups: Sequence[RowGroup], budget: str, name: str) -> RowGroup | None:
    """The row that others are compared with; None when it is missing, partial or ambiguous."""
    found = [group for group in groups if group.name == name and group.budget == budget]
    return found[0] if len(found) == 1 and found[0].is_complete else None


def _measure(group: RowGroup, baseline: RowGroup | None, reference: str) -> Row:
    row = Row(
        distiller=group.distiller,
        budget=group.budget,
        is_reference=group.name == reference,
        runs=len(group.pairs),
        expected=len(group.expected),
        degenerate_runs=sum(_is_degenerate(record) for record in group.records),
    )
    if not group.is_complete:
        return replace(row, notes=_notes(group, row))
    row = replace(
        row,
        score=estimate_mean(list(group.by_seed(lambda record: record.value).values())),
        sampling_sd=_sampling_sd(group.records),
        comparison=_compare(group, baseline),
        size=_size(group.records),
        cost=_cost(group.records),
    )
    return replace(row, notes=_notes(group, row))


def _compare(group: RowGroup, baseline: RowGroup | None) -> Comparison | None:
    if baseline is None or baseline is group:
        return None
    own = group.by_seed(lambda record: record.value)
    other = baseline.by_seed(lambda record: record.value)
    difference = paired_difference(list(own.values()), [other[seed] for seed in own])
    return Comparison(baseline.distiller, difference)


def _adjust(rows: Sequence[Row]) -> list[Row]:
    """The comparisons of one table are one family for Holm's correction."""
    tested = [row.comparison.difference.p_value for row in rows if row.comparison]
    adjusted = iter(holm([p for p in tested if p is not None]))
    return [_judge(row, adjusted) for row in rows]


def _judge(row: Row, adjusted: Iterable[float]) -> Row:
    if row.comparison is None or row.comparison.difference.p_value is None:
        return row
    p = next(iter(adjusted))
    verdict: Verdict = "no evidence"
    if p < SIGNIFICANCE:
        verdict = "better" if row.comparison.difference.mean > 0 else "worse"
    return replace(row, comparison=replace(row.comparison, p_adjusted=p, verdict=verdict))


def _rank(rows: Sequence[Row]) -> list[Row]:
    """Ranks among the complete rows of the same budget: 1 + the number of better means."""
    return [replace(row, rank=_rank_of(row, rows)) for row in rows]


def _rank_of(row: Row, rows: Sequence[Row]) -> int | None:
    if row.score is None or row.is_reference:
        return None
    rivals = [
        other.score.mean
        for other in rows
        if other.score is not None and other.budget == row.budget and not other.is_reference
    ]
    return 1 + sum(mean > row.score.mean + _SAME for mean in rivals)


def _position(row: Row) -> tuple[bool, str, float, bool, int, str]:
    budget = Budget.parse(row.budget)
    unranked = row.rank is None
    return row.is_reference, budget.unit, budget.amount, unranked, row.rank or 0, row.distiller


def _size(records: Sequence[Record]) -> SetSize:
    import numpy as np

    sets = list({record.distill_key: record.distilled for record in records}.values())
    rows = [one.rows for one in sets]
    return SetSize(min(rows), max(rows), float(np.mean([one.bytes for one in sets])))


def _cost(records: Sequence[Record]) -> RowCost:
    import numpy as np

    sets: dict[str, float] = {}
    for record in records:
        seconds = record.costs.distill.seconds
        sets[record.distill_key] = max(sets.get(record.distill_key, 0.0), seconds)
    stages = [stage for record in records for stage in (record.costs.distill, record.costs.fit)]
    return RowCost(
        distill_seconds=float(np.mean([sets[key] for key in sorted(sets)])),
        fit_seconds=float(np.mean([record.costs.fit.seconds for record in records])),
        peak_bytes=max(stage.peak_bytes for stage in stages),
        device_peak_bytes=max(stage.device_peak_bytes for stage in stages),
    )


def _sampling_sd(records: Sequence[Record]) -> float | None:
    """sqrt of the mean over runs of the sampling variance, where the metric is a mean of items."""
    import numpy as np

    if not all("score" in record.items for record in records):
        return None
    scores: list[np.ndarray] = [record.item_scores for record in records]
    means_items = all(
        len(items) > 0 and abs(float(np.mean(items, dtype=np.float64)) - record.value) < 1e-6
        for items, record in zip(scores, records, strict=True)
    )
    if not means_items:
        return None
    return float(np.mean([sampling_variance(items) for items in scores])) ** 0.5


def _is_degenerate(record: Record) -> bool:
    """Whether a classifier gave every test item the same class."""
    if "prediction" not in record.items:
        return False
    predictions = record.items["prediction"].unpack()
    return len(predictions) > 1 and bool((predictions == predictions[0]).all())


def _notes(group: RowGroup, row: Row) -> tuple[str, ...]:
    notes = []
    if not row.is_complete:
        notes.append(f"unranked, {row.runs} of {row.expected} runs are there{_failed(group)}")
    if row.degenerate_runs:
        notes.append(f"predicts one and the same class in {row.degenerate_runs} of {row.runs} runs")
    sets = {record.distill_key for record in group.records}
    if row.score and row.score.n > 1 and len(sets) == 1:
        notes.append("one set for all distilling seeds, so its spread is that of fitting")
    difference = row.comparison.difference if row.comparison else None
    if difference and difference.n > 1 and difference.p_value is None:
        notes.append(
            "not tested, every seed gives the same difference from the baseline, so there is"
            " no spread to test with"
        )
    return tuple(notes)


def _failed(group: RowGroup) -> str:
    return f", {len(group.failed)} failed" if group.failed else ""
