"""What follows from a table, in words: who is better, what is open, what would settle it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from harness.budget import Budget
from harness.leaderboard.formats.columns import signed_percent
from harness.leaderboard.scoring import SIGNIFICANCE
from harness.leaderboard.stats import seeds_to_tell
from harness.leaderboard.table import BaselineComparison, Row, Table

POWER = 0.8
_AMONG = {"above": "above", "within": "among", "below": "below"}
Compared = tuple[Row, BaselineComparison]


def conclusions(table: Table, *, cost: bool) -> tuple[str, ...]:
    """Sentences for each budget with comparisons; `cost` adds minutes, which machines differ in."""
    budgets = sorted({row.budget for row in table.rows if row.comparison}, key=Budget.parse)
    return tuple(sentence for budget in budgets for sentence in _at(table, budget, cost=cost))


def _at(table: Table, budget: str, *, cost: bool) -> Iterator[str]:
    rows = [row for row in table.rows if row.budget == budget]
    compared = [(row, row.comparison) for row in rows if row.comparison]
    compared.sort(key=lambda pair: (-pair[1].difference.mean, pair[0].distiller))
    baseline = compared[0][1].baseline
    better = [_gain(pair) for pair in compared if pair[1].verdict == "better"]
    if better:
        yield f"Better than {baseline} at {budget}: {_listed(better)}."
    else:
        yield f"Nothing is shown to be better than {baseline} at {budget}."
    worse = [_gain(pair) for pair in compared if pair[1].verdict == "worse"]
    unsettled = [pair for pair in compared if pair[1].verdict == "no evidence"]
    placed = [_placed(pair) for pair in compared if pair[1].placement]
    if worse:
        yield f"Worse: {_listed(worse)}."
    if unsettled:
        yield f"No evidence either way: {_listed(map(_gain, unsettled))}."
    if placed:
        yield f"One set each, which says nothing of a method's other sets: {_listed(placed)}."
    if unsettled:
        tested = sum(comparison.verdict is not None for _, comparison in compared)
        yield from _what_would_settle(unsettled[0], rows, tested, cost=cost)


def _what_would_settle(
    leader: Compared, rows: Sequence[Row], tested: int, *, cost: bool
) -> Iterator[str]:
    """How many seeds the most promising open row needs, as one of `tested` comparisons."""
    row, comparison = leader
    difference = comparison.difference
    if difference.mean <= 0 or not difference.sd:
        return
    needed = seeds_to_tell(difference.mean / difference.sd, SIGNIFICANCE / tested, POWER)
    if needed is None or needed <= difference.n:
        return
    more = needed - difference.n
    spent = [one.cost for one in rows if one in (row, _baseline(rows, comparison)) and one.cost]
    minutes = more * sum(one.distill_seconds + one.fit_seconds for one in spent) / 60
    price = f", about {max(1, round(minutes)):,} min" if cost else ""
    yield (
        f"If {row.distiller} gains what was seen, {needed} seeds show it with {POWER:.0%} power:"
        f" {more} more of it and of {comparison.baseline}{price}."
    )


def _baseline(rows: Sequence[Row], comparison: BaselineComparison) -> Row | None:
    return next((row for row in rows if row.distiller == comparison.baseline), None)


def _gain(pair: Compared) -> str:
    row, comparison = pair
    gain, interval = signed_percent(comparison.difference.mean), comparison.difference.interval
    if interval is None:
        return f"{row.distiller} ({gain})"
    low, high = signed_percent(interval.low), signed_percent(interval.high)
    return f"{row.distiller} ({gain}, {low} to {high})"


def _placed(pair: Compared) -> str:
    row, comparison = pair
    gain = signed_percent(comparison.difference.mean)
    where = _AMONG[comparison.placement.where] if comparison.placement else ""
    return f"{row.distiller} ({gain}, {where} draws of {comparison.baseline})"


def _listed(texts: Iterable[str]) -> str:
    return ", ".join(texts)
