"""A table's columns as people read them, shared by terminal, Markdown and page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from harness.leaderboard.board import Board
from harness.leaderboard.table import Fact, Row, RowCost, Table

ColumnPart = Literal["row", "score", "cost", "extra"]
NOTHING = "–"
MARK = "†"
"""Put beside the score of a row with a degenerate run; the notes say how many."""


@dataclass(frozen=True)
class Column:
    """One column's cells, in the order of the table's rows.

    part: the terminal shows the score and what lies behind it in two tables.
    foreign: title or cells come from a plugin or a record, so each format must escape them.
    """

    title: str
    part: ColumnPart
    cells: tuple[str, ...]
    foreign: bool = False
    left: bool = False


def columns_of(board: Board, table: Table, *, cost: bool) -> list[Column]:
    """Every column of a table; without `cost`, only those that any machine reproduces."""
    columns = [
        _column(table, "#", "score", _rank),
        Column("method", "row", tuple(row.label for row in table.rows), foreign=True, left=True),
        _column(table, "n", "score", _runs),
        Column(f"{table.metric} %", "score", tuple(map(_score, table.rows)), foreign=True),
        _column(table, f"vs {' / '.join(table.opponents)}", "score", _difference),
        _column(table, "p", "score", _p_value),
        _column(table, "verdict", "score", _verdict, left=True),
        _column(table, "ranks", "cost", _ranks),
        *([] if table.opponents == ("full",) else [_column(table, "vs full", "cost", _loss)]),
        _column(table, "LRS", "cost", _robust_score),
        *([_column(table, "area %", "cost", _area)] if any(r.area for r in table.rows) else []),
        _column(table, "sd", "cost", _sd),
        _column(table, "rows", "cost", _set_rows),
        _column(table, "set kB", "cost", _set_kilobytes),
        *(_cost_columns(table) if cost else ()),
    ]
    for title in board.extra_columns:
        cells = tuple(board.extra_cell(title, table, row) for row in table.rows)
        columns.append(Column(title, "extra", cells, foreign=True))
    return columns


def shown_facts(facts: tuple[Fact, ...], *, cost: bool) -> list[Fact]:
    """The facts to print; without `cost`, only those that any machine reproduces."""
    return [fact for fact in facts if cost or not fact.volatile]


def shown_notes(table: Table) -> list[str]:
    """Each note once, after the rows it holds for; degenerate rows keep their mark."""
    labels: dict[str, list[str]] = {}
    for row in table.rows:
        for note in row.notes:
            mark = f" {MARK}" if row.degenerate_runs else ""
            labels.setdefault(note, []).append(f"{row.label}{mark}")
    return [f"{', '.join(rows)}: {note}" for note, rows in labels.items()]


def _column(
    table: Table, title: str, part: ColumnPart, read: Callable[[Row], str], *, left: bool = False
) -> Column:
    return Column(title, part, tuple(read(row) for row in table.rows), left=left)


def _cost_columns(table: Table) -> list[Column]:
    def column(title: str, read: Callable[[RowCost], str]) -> Column:
        cells = tuple(NOTHING if row.cost is None else read(row.cost) for row in table.rows)
        return Column(title, "cost", cells)

    columns = [
        column("distill s", lambda cost: f"{cost.distill_seconds:,.1f}"),
        column("fit s", lambda cost: f"{cost.fit_seconds:,.1f}"),
        column("peak MB", lambda cost: f"{cost.peak_bytes / 1e6:,.0f}"),
    ]
    if any(row.cost and row.cost.device_peak_bytes for row in table.rows):
        columns.append(column("device MB", lambda cost: f"{cost.device_peak_bytes / 1e6:,.0f}"))
    return columns


def _rank(row: Row) -> str:
    if row.is_reference:
        return "ref"
    return NOTHING if row.rank is None else str(row.rank)


def _runs(row: Row) -> str:
    """`3` sets, `3×5` sets of five runs each, or `2/3` of the expected runs."""
    if row.score is None:
        return f"{row.runs}/{row.expected}"
    sets = row.score.n
    if row.runs == sets:
        return str(sets)
    return f"{sets}×{row.runs // sets}" if row.runs % sets == 0 else f"{sets} ({row.runs} runs)"


def _score(row: Row) -> str:
    mark = f" {MARK}" if row.degenerate_runs else ""
    if row.score is None:
        return f"{NOTHING}{mark}"
    interval = row.score.interval
    margin = "" if interval is None else f" ± {percent(interval.half_width)}"
    return f"{percent(row.score.mean)}{margin}{mark}"


def _sd(row: Row) -> str:
    return NOTHING if row.score is None or row.score.sd is None else percent(row.score.sd)


def _difference(row: Row) -> str:
    if row.comparison is None:
        return NOTHING
    difference = row.comparison.difference
    if difference.interval is None:
        return signed_percent(difference.mean)
    low, high = difference.interval.low, difference.interval.high
    return f"{signed_percent(difference.mean)} [{signed_percent(low)}, {signed_percent(high)}]"


def _ranks(row: Row) -> str:
    """The ranks a method takes with other seeds and items, `2–4`."""
    if row.rank_interval is None:
        return NOTHING
    low, high = row.rank_interval.low, row.rank_interval.high
    return str(low) if low == high else f"{low}–{high}"


def _loss(row: Row) -> str:
    return NOTHING if row.loss_to_full is None else signed_percent(-row.loss_to_full.mean)


def _robust_score(row: Row) -> str:
    """Four decimals: a point of accuracy moves the score by two thousandths."""
    return NOTHING if row.robust_score is None else f"{row.robust_score.mean:.4f}"


def _area(row: Row) -> str:
    return NOTHING if row.area is None else percent(row.area)


def _p_value(row: Row) -> str:
    if row.comparison is None or row.comparison.p_adjusted is None:
        return NOTHING
    p = row.comparison.p_adjusted
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _verdict(row: Row) -> str:
    if row.comparison is None:
        return NOTHING
    if row.comparison.placement is not None:
        return f"one set, {row.comparison.placement.where}"
    return row.comparison.verdict or NOTHING


def _set_rows(row: Row) -> str:
    if row.size is None:
        return NOTHING
    low, high = row.size.rows_min, row.size.rows_max
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


def _set_kilobytes(row: Row) -> str:
    return NOTHING if row.size is None else f"{row.size.bytes / 1e3:,.1f}"


def percent(fraction: float) -> str:
    """A fraction as percent with one decimal."""
    return f"{100 * fraction:.1f}"


def signed_percent(fraction: float) -> str:
    """A difference of fractions in percentage points, with its sign; never `-0.0`."""
    return f"{round(100 * fraction, 1) + 0.0:+.1f}"
