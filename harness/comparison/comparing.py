"""`harness compare`: runs paired by seeds, differences with intervals, tests and verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.comparison.changes import changes
from harness.comparison.findings import Comparison, RowComparison, Verdict
from harness.comparison.items import compare_items, why_not_items
from harness.comparison.row_pairs import RowPair, row_label
from harness.comparison.sides import find_sides
from harness.errors import UsageError
from harness.leaderboard.grouping import RowGroup, group_tables, seed_pair
from harness.leaderboard.scoring import SIGNIFICANCE
from harness.leaderboard.stats import estimate_mean, holm, paired_difference
from harness.leaderboard.table import SeedPair
from harness.records.record import Record

NO_EVIDENCE: Verdict = "no evidence of a difference"
ONE_SEED = "one seed: no interval, no verdict"
ONE_SET = "one set for all seeds, so what differs may be that draw"
NO_SPREAD = "every seed gives the same difference: no spread to test with"


@dataclass(frozen=True)
class PairedRuns:
    """A row's runs that both sides have, in the order of their seeds, and those that one lacks."""

    pair: RowPair
    runs: Mapping[SeedPair, tuple[Record, Record]]
    only_first: tuple[SeedPair, ...]
    only_second: tuple[SeedPair, ...]

    @property
    def label(self) -> str:
        return f"{' · '.join(self.pair.table)} / {self.pair.label}"


def compare(
    first: str | Path,
    second: str | Path,
    *,
    folder: str | Path | None = None,
    allow_mixed: bool = False,
    items: int = 5,
) -> Comparison:
    """Compares A and B: what changed, whether it is real, and on which items they disagree.

    Args:
        first, second: two results folders; or two methods (`herding`, `herding@20/class`) or two
            commits of the records, taken as the first of these that both are.
        folder: the results folder, where A and B are not folders; `runs/quickstart` when
            not given.
        allow_mixed: compare different protocols and versions too, and say so.
        items: how many test items to name on either side.

    Raises:
        UsageError: A or B is unknown or ambiguous, they have no run in common, or protocols or
            versions differ and `allow_mixed` is not set.
    """
    if items < 0:
        raise UsageError(f"the number of items to show cannot be negative, got {items}")
    sides = find_sides(str(first), str(second), None if folder is None else Path(folder))
    paired = [_pair_runs(pair) for pair in sides.matched.pairs]
    compared = [row for row in paired if row.runs]
    left_out = [f"{row.label}: {_no_common_run(row)}" for row in paired if not row.runs]
    if not compared:
        raise UsageError(f"'{first}' and '{second}' have no run in common: {'; '.join(left_out)}")
    mixed = _mixed(compared)
    if mixed and not allow_mixed:
        raise UsageError(
            f"'{first}' and '{second}' were not measured alike: {'; '.join(mixed)}",
            hint="Compare them all the same with --allow-mixed.",
        )
    rows = _judge([_measure(row, items) for row in compared])
    return Comparison(
        kind=sides.kind,
        folder=sides.folder,
        first=str(first),
        second=str(second),
        rows=tuple(rows),
        changes=changes({row.label: _both_sides(row) for row in compared}),
        left_out=(*left_out, *sides.matched.left_out),
        mixed=mixed,
        problems=tuple(problem.reason for problem in sides.problems),
    )


def _pair_runs(pair: RowPair) -> PairedRuns:
    a, b = _by_run(pair.first), _by_run(pair.second)
    common = sorted(a.keys() & b.keys())
    return PairedRuns(
        pair,
        {run: (a[run], b[run]) for run in common},
        tuple(sorted(a.keys() - b.keys())),
        tuple(sorted(b.keys() - a.keys())),
    )


def _by_run(group: RowGroup) -> dict[SeedPair, Record]:
    runs: dict[SeedPair, Record] = {}
    for record in group.records:
        other = runs.setdefault(seed_pair(record), record)
        if other is not record:
            raise UsageError(
                f"records {other.key} and {record.key} are the same run of {row_label(group)},"
                f" seeds {_seeds([seed_pair(record)])}",
                hint="Keep one protocol to a folder, or take one of the two files out.",
            )
    return runs


def _no_common_run(row: PairedRuns) -> str:
    return f"no common seeds (A has {_seeds(row.only_first)}; B has {_seeds(row.only_second)})"


def _seeds(runs: Sequence[SeedPair]) -> str:
    return ", ".join(f"{distill}/{fit}" for distill, fit in runs)


def _mixed(rows: Sequence[PairedRuns]) -> tuple[str, ...]:
    """What differs among the runs of a table although a board would have it shared."""
    records = [record for row in rows for pair in row.runs.values() for record in pair]
    tables = group_tables(records, (), expected=(), allow_mixed=True)
    return tuple(f"{' · '.join(t.key)}: {'; '.join(t.mixed)}" for t in tables if t.mixed)


def _both_sides(row: PairedRuns) -> tuple[list[Record], list[Record]]:
    return [a for a, _ in row.runs.values()], [b for _, b in row.runs.values()]


def _measure(row: PairedRuns, shown: int) -> RowComparison:
    first, second = (_by_seed(side) for side in _both_sides(row))
    runs = list(row.runs.values())
    no_items = why_not_items(runs)
    return RowComparison(
        table=" · ".join(row.pair.table),
        label=row.pair.label,
        first_row=row_label(row.pair.first),
        second_row=row_label(row.pair.second),
        metric=runs[0][0].main,
        runs=tuple(row.runs),
        only_first_runs=row.only_first,
        only_second_runs=row.only_second,
        first=estimate_mean(first),
        second=estimate_mean(second),
        difference=paired_difference(first, second),
        same_sets=sum(a.distilled.content == b.distilled.content for a, b in runs),
        same_outcomes=0 if no_items else sum(_same_outcome(a, b) for a, b in runs),
        items=None if no_items else compare_items(runs, shown),
        no_items=no_items,
        unjudged=_fixed_sets(row),
    )


def _fixed_sets(row: PairedRuns) -> str:
    """Why no claim about the methods can be made, where a side has one set for all seeds."""
    sides = {"A": row.pair.first, "B": row.pair.second}
    fixed = [name for name, group in sides.items() if group.has_one_set]
    return f"{' and '.join(fixed)}: {ONE_SET}" if fixed else ""


def _by_seed(records: Sequence[Record]) -> list[float]:
    """One score for each distilling seed: the mean over its fitting seeds."""
    import numpy as np

    seeds: dict[int, list[float]] = {}
    for record in records:
        seeds.setdefault(record.distill_seed, []).append(record.value)
    return [float(np.mean(values)) for values in seeds.values()]


def _same_outcome(first: Record, second: Record) -> bool:
    import numpy as np

    return bool(np.array_equal(first.item_scores, second.item_scores))


def _judge(rows: Sequence[RowComparison]) -> list[RowComparison]:
    """All rows of a comparison are one family for Holm's correction."""
    tested = [None if row.unjudged else row.difference.p_value for row in rows]
    adjusted = iter(holm([p for p in tested if p is not None]))
    return [_verdict(row, next(adjusted) if p is not None else None)
            for row, p in zip(rows, tested, strict=True)]  # fmt: skip


def _verdict(row: RowComparison, p_adjusted: float | None) -> RowComparison:
    if row.unjudged:
        return row
    if p_adjusted is None:
        return replace(row, unjudged=ONE_SEED if row.difference.n == 1 else NO_SPREAD)
    verdict = NO_EVIDENCE
    if p_adjusted < SIGNIFICANCE:
        verdict = "A is better" if row.difference.mean > 0 else "B is better"
    return replace(row, p_adjusted=p_adjusted, verdict=verdict)
