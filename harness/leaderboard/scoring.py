"""A table's rows: means with intervals, tests against the baseline, ranks and costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import TYPE_CHECKING, Literal

from harness.budget import Budget
from harness.leaderboard.grouping import RowGroup
from harness.leaderboard.items import (
    Measure,
    difference_elsewhere,
    item_matrix,
    ranks_elsewhere,
    sampling_sd,
)
from harness.leaderboard.measures import area_under_curve, label_robust_score
from harness.leaderboard.ranks import RankInterval
from harness.leaderboard.stats import (
    MeanEstimate,
    estimate_mean,
    holm,
    paired_difference,
    prediction_interval,
)
from harness.leaderboard.table import (
    RANDOM,
    BaselineComparison,
    BaselineVerdict,
    Placement,
    Row,
    RowCost,
    SetSize,
)
from harness.records.record import Record

if TYPE_CHECKING:
    import numpy as np

SIGNIFICANCE = 0.05
_SAME = 1e-9
"""Means closer than this are a tie: sums of the same fractions in another order."""


@dataclass(frozen=True)
class ScoredGroup:
    """A group with what was measured of it.

    values: distilling seed -> score; items: [seeds, items], None where there are no outcomes
    whose mean is the score. Both are empty for an incomplete group.
    """

    group: RowGroup
    values: Mapping[int, float] = field(default_factory=dict)
    items: np.ndarray | None = None

    @classmethod
    def of(cls, group: RowGroup, measure: Measure) -> ScoredGroup:
        if not group.is_complete:
            return cls(group)
        return cls(group, group.by_seed(measure), item_matrix(group, measure))


def score_rows(
    groups: Sequence[RowGroup], *, measure: Measure, baseline: str, reference: str
) -> tuple[Row, ...]:
    """One finished row for each group: by budget, best first, incomplete ones after, reference
    last."""
    scored = [ScoredGroup.of(group, measure) for group in groups]
    whole = _reference(scored, reference)
    budgets = {group.budget for group in groups}
    baselines = {budget: _baseline(scored, budget, baseline, whole) for budget in budgets}
    rows = [_measure(one, baselines[one.group.budget], whole, reference) for one in scored]
    rows = _rank_elsewhere(_rank(_adjust(rows)), scored)
    return tuple(sorted((_note(row) for row in _with_areas(rows)), key=_position))


def _baseline(
    scored: Sequence[ScoredGroup], budget: str, name: str, whole: ScoredGroup | None
) -> ScoredGroup | None:
    """The row that others are compared with; None when it is missing, partial or ambiguous.

    What is trained on the whole train split is compared with plain training on it: rows drawn at
    random would be the same rows.
    """
    found = [s for s in scored if s.group.name == name and s.group.budget == budget]
    if not found and whole is not None and whole.group.budget == budget:
        return whole
    return found[0] if len(found) == 1 and found[0].group.is_complete else None


def _reference(scored: Sequence[ScoredGroup], name: str) -> ScoredGroup | None:
    """The one complete row on the whole train split."""
    found = [s for s in scored if s.group.name == name]
    return found[0] if len(found) == 1 and found[0].group.is_complete else None


def _measure(
    one: ScoredGroup, baseline: ScoredGroup | None, whole: ScoredGroup | None, reference: str
) -> Row:
    group = one.group
    row = Row(
        distiller=group.distiller,
        budget=group.budget,
        is_reference=group.name == reference or group.is_reference,
        runs=len(group.pairs),
        expected=len(group.expected),
        degenerate_runs=sum(_is_degenerate(record) for record in group.records),
    )
    if not group.is_complete:
        return replace(row, notes=_notes(group, row))
    row = replace(
        row,
        seed_scores=dict(one.values),
        score=estimate_mean(list(one.values.values())),
        sampling_sd=None if one.items is None else sampling_sd(group),
        comparison=None if row.is_reference else _compare(one, baseline),
        loss_to_full=_loss(one, whole),
        robust_score=_robust_score(one, baseline, whole),
        size=_size(group.records),
        cost=_cost(group.records),
        parameters=fmean(record.student.parameters for record in group.records),
    )
    return replace(row, notes=_notes(group, row))


def _compare(one: ScoredGroup, baseline: ScoredGroup | None) -> BaselineComparison | None:
    if baseline is None or baseline is one:
        return None
    difference = paired_difference(list(one.values.values()), _paired(one, baseline))
    if one.group.has_one_set or baseline.group.has_one_set:
        untested = replace(difference, interval=None, p_value=None)
        return BaselineComparison(
            baseline.group.distiller, untested, placement=_placement(one, baseline)
        )
    elsewhere = difference_elsewhere(one.group, baseline.group, (one.items, baseline.items))
    return BaselineComparison(baseline.group.distiller, difference, elsewhere=elsewhere)


def _placement(one: ScoredGroup, baseline: ScoredGroup) -> Placement | None:
    draws = list(baseline.values.values())
    expected = None if baseline.group.has_one_set else prediction_interval(draws)
    if expected is None:
        return None
    score = fmean(one.values.values())
    above, below = score > expected.high, score < expected.low
    where: Literal["above", "within", "below"] = (
        "above" if above else "below" if below else "within"
    )
    return Placement(expected, where, sum(draw < score for draw in draws), len(draws))


def _paired(one: ScoredGroup, other: ScoredGroup) -> list[float]:
    """The other's scores in the order of this one's seeds."""
    return [other.values[seed] for seed in one.values]


def _loss(one: ScoredGroup, whole: ScoredGroup | None) -> MeanEstimate | None:
    if whole is None or whole is one:
        return None
    pairs = zip(_paired(one, whole), one.values.values(), strict=True)
    return estimate_mean([full - own for full, own in pairs])


def _robust_score(
    one: ScoredGroup, baseline: ScoredGroup | None, whole: ScoredGroup | None
) -> MeanEstimate | None:
    """Seed by seed, from fractions; with hard labels a set's own recipe is the suite's.

    It is defined by random rows, so another baseline has none.
    """
    if baseline is None or whole is None or baseline.group.name != RANDOM:
        return None
    if one in (baseline, whole):
        return None
    if any(record.distilled.soft_labels for record in one.group.records):
        return None
    triples = zip(one.values.values(), _paired(one, baseline), _paired(one, whole), strict=True)
    return estimate_mean(
        [label_robust_score(full - own, own - other) for own, other, full in triples]
    )


def _with_areas(rows: Sequence[Row]) -> list[Row]:
    """The area under each method's accuracy-budget curve, where it has every budget."""
    budgets = {row.budget for row in rows if not row.is_reference}
    curves: dict[str, dict[float, float]] = {}
    for row in rows:
        if row.size and row.score and not row.is_reference:
            middle = (row.size.rows_min + row.size.rows_max) / 2
            curves.setdefault(row.distiller, {})[middle] = row.score.mean
    areas = {
        name: area_under_curve(points)
        for name, points in curves.items()
        if len(points) == len(budgets) > 1
    }
    return [replace(row, area=areas.get(row.distiller)) for row in rows]


def _rank_elsewhere(rows: Sequence[Row], scored: Sequence[ScoredGroup]) -> list[Row]:
    """Adds the ranks that the rows of each budget take with other seeds and items."""
    intervals: dict[int, RankInterval | None] = {}
    for budget in {row.budget for row in rows}:
        ranked = [
            i
            for i, row in enumerate(rows)
            if row.rank and row.budget == budget and not scored[i].group.has_one_set
        ]
        found = ranks_elsewhere(
            [scored[i].group for i in ranked], [scored[i].items for i in ranked]
        )
        intervals.update(zip(ranked, found, strict=True))
    return [replace(row, rank_interval=intervals.get(i)) for i, row in enumerate(rows)]


def _note(row: Row) -> Row:
    """Says where a difference may be one of these test items only."""
    comparison = row.comparison
    if comparison is None or comparison.verdict in (None, "no evidence"):
        return row
    if comparison.elsewhere is None or not comparison.elsewhere.covers(0):
        return row
    text = (
        f"{comparison.verdict} on these test items; with other items too, no evidence of a"
        " difference"
    )
    return replace(row, notes=(*row.notes, text))


def _adjust(rows: Sequence[Row]) -> list[Row]:
    """The comparisons of one table are one family for Holm's correction."""
    tested = [row.comparison.difference.p_value for row in rows if row.comparison]
    adjusted = iter(holm([p for p in tested if p is not None]))
    return [_judge(row, adjusted) for row in rows]


def _judge(row: Row, adjusted: Iterable[float]) -> Row:
    if row.comparison is None or row.comparison.difference.p_value is None:
        return row
    p = next(iter(adjusted))
    verdict: BaselineVerdict = "no evidence"
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
    if row.score and group.has_one_set:
        notes.append(_one_set(row))
    elif row.score and row.score.n > 1 and len(sets) == 1:
        notes.append(
            "one set for all distilling seeds, so its spread is that of fitting"
            if len(set(row.seed_scores.values())) > 1
            else "one set for all distilling seeds and no spread in fitting: in effect one run"
        )
    difference = row.comparison.difference if row.comparison else None
    if difference and difference.interval and difference.p_value is None:
        notes.append(
            "not tested, every seed gives the same difference from the baseline, so there is"
            " no spread to test with"
        )
    return tuple(notes)


def _one_set(row: Row) -> str:
    text = "one set for all distilling seeds: no verdict on the method"
    placement = row.comparison.placement if row.comparison else None
    if row.comparison is None or placement is None:
        return text
    low, high = (f"{100 * end:.1f}" for end in (placement.interval.low, placement.interval.high))
    return (
        f"{text}; it lies {placement.where} what one more draw of {row.comparison.baseline} would"
        f" give ({low} to {high}, 95 %) and beats {placement.beaten} of its {placement.draws}"
    )


def _failed(group: RowGroup) -> str:
    return f", {len(group.failed)} failed" if group.failed else ""
