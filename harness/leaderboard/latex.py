"""The board as LaTeX tables for a paper."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from harness.leaderboard.board import Board
from harness.leaderboard.columns import MARK, NOTHING, percent, shown_facts, shown_notes
from harness.leaderboard.columns import signed_percent as signed
from harness.leaderboard.escaping import latex, printable
from harness.leaderboard.grouping import group_tables
from harness.leaderboard.scoring import SIGNIFICANCE
from harness.leaderboard.table import Fact, Row, RowCost, Table
from harness.results import Results
from harness.stats import holm, paired_difference

SeedScores = Mapping[int, float]
"""Distilling seed -> score of the main metric."""

_HEADER = r"% Made by harness leaderboard --format latex; \input it. Needs \usepackage{booktabs}."
_NOTHING = latex(NOTHING)


@dataclass(frozen=True)
class Latex:
    """For each board table a table of scores and one of what the sets and runs cost.

    The text is ASCII and needs booktabs alone. Facts stand in comments after each table.

    cost: with timings, memory, dates and machine, which differ from run to run.
    seed_scores: `TABLE TITLE / ROW LABEL` -> the row's scores, as `seed_scores` reads them from
    records; with them, methods that a paired test cannot tell from the best are bold too.
    """

    cost: bool = True
    seed_scores: Mapping[str, SeedScores] = field(default_factory=dict)

    def render(self, board: Board) -> str:
        references = _references([table.title for table in board.tables])
        parts = [_HEADER]
        for table, reference in zip(board.tables, references, strict=True):
            parts += [
                self._scores(board, table, reference),
                self._costs(table, reference),
                self._facts(table.facts),
            ]
        parts.append(self._facts(board.facts))
        return "\n\n".join(parts) + "\n"

    def _scores(self, board: Board, table: Table, reference: str) -> str:
        scores = {row.label: self.seed_scores.get(f"{table.title} / {row.label}", {})
                  for row in table.rows}  # fmt: skip
        bold = bold_rows(table.rows, scores)
        columns = _score_columns(table, bold)
        for title in board.extra_columns:
            cells = [latex(board.extra_cell(title, table, row)) for row in table.rows]
            columns.append(_Column(latex(title), cells))
        notes = [_bold_note(table.rows, scores), *map(latex, shown_notes(table))]
        return _float(_tabular(table.rows, columns), _caption(table), reference, notes)

    def _costs(self, table: Table, reference: str) -> str:
        bill = " and what they cost" if self.cost else ""
        caption = f"{_measured(table)}: sd over seeds in points; size of the sets{bill}."
        return _float(_costs(table, cost=self.cost), caption, f"{reference}-cost")

    def _facts(self, facts: tuple[Fact, ...]) -> str:
        shown = shown_facts(facts, cost=self.cost)
        return "\n".join(f"% {printable(fact.name)}: {printable(fact.text)}" for fact in shown)


@dataclass(frozen=True)
class _Column:
    """Escaped cells, in the order of the table's rows, under an escaped title."""

    title: str
    cells: Sequence[str]
    align: str = "r"


def seed_scores(results: Results) -> dict[str, SeedScores]:
    """Scores by distilling seed of every row of the board that these records make.

    Raises:
        UsageError: the records make no board.
    """
    tables = group_tables(results.records, (), expected=(), allow_mixed=True)
    return {
        f"{' · '.join(table.key)} / {group.distiller} @ {group.budget}": group.by_seed(
            lambda record: record.value
        )
        for table in tables
        for group in table.rows
    }


def bold_rows(rows: Sequence[Row], scores: Mapping[str, SeedScores]) -> frozenset[str]:
    """Labels of the best rows of each budget and of those that a test cannot tell from them.

    Incomplete and reference rows take no part. The comparisons with the best row of a budget
    are one family for Holm's correction.

    scores: row label -> scores by seed; a row without them, or without a spread of differences
    to test with, is bold only as the best.
    """
    return frozenset(
        label
        for budget in {row.budget for row in rows}
        for label in _bold_at([row for row in rows if row.budget == budget], scores)
    )


def _bold_at(rows: Sequence[Row], scores: Mapping[str, SeedScores]) -> list[str]:
    best = [row.label for row in rows if row.rank == 1]
    others = [row.label for row in rows if row.rank is not None and row.rank > 1]
    tested = {}
    for label in others:
        p_value = _p_value(scores.get(best[0], {}), scores.get(label, {}))
        if p_value is not None:
            tested[label] = p_value
    adjusted = zip(tested, holm(list(tested.values())), strict=True)
    return [*best, *(label for label, p in adjusted if p >= SIGNIFICANCE)]


def _p_value(first: SeedScores, second: SeedScores) -> float | None:
    if not first or first.keys() != second.keys():
        return None
    return paired_difference(list(first.values()), [second[seed] for seed in first]).p_value


def _bold_note(rows: Sequence[Row], scores: Mapping[str, SeedScores]) -> str:
    best = "Bold: the best mean at each budget"
    ranked = [row for row in rows if row.rank is not None]
    if all(row.score and row.score.n == 1 for row in ranked):
        return f"{best}; with one seed nothing is tested."
    if not all(scores.get(row.label) for row in ranked):
        return f"{best}; whether others differ from it was not tested."
    return (
        f"{best}, and every method whose difference from it gives no evidence of a difference"
        f" (paired by seed, two-sided $t$ test, Holm-adjusted over the comparisons with the best"
        f" at that budget, level {SIGNIFICANCE:g})."
    )


def _score_columns(table: Table, bold: frozenset[str]) -> list[_Column]:
    rows = table.rows
    return [
        _Column("method", [latex(row.distiller) for row in rows], "l"),
        _Column("budget", [latex(row.budget) for row in rows], "l"),
        _Column("$n$", [_runs(row) for row in rows]),
        _Column(rf"{latex(table.metric)} (\%)", [_score(row, row.label in bold) for row in rows]),
        _Column(f"vs {latex(table.baseline)}", [_difference(row) for row in rows]),
        _Column("$p$", [_adjusted(row) for row in rows]),
    ]


def _costs(table: Table, *, cost: bool) -> str:
    def column(title: str, read: Callable[[RowCost], str]) -> _Column:
        return _Column(title, [read(row.cost) if row.cost else _NOTHING for row in table.rows])

    sizes = [f"{r.size.bytes / 1e3:,.1f}" if r.size else _NOTHING for r in table.rows]
    columns = [
        *_score_columns(table, frozenset())[:2],
        _Column("sd", [_sd(row) for row in table.rows]),
        _Column("rows", [_set_rows(row) for row in table.rows]),
        _Column("set kB", sizes),
    ]
    if cost:
        columns += [
            column("distill s", lambda bill: f"{bill.distill_seconds:,.1f}"),
            column("fit s", lambda bill: f"{bill.fit_seconds:,.1f}"),
            column("peak MB", lambda bill: f"{bill.peak_bytes / 1e6:,.0f}"),
        ]
        if any(row.cost and row.cost.device_peak_bytes for row in table.rows):
            columns.append(column("device MB", lambda bill: f"{bill.device_peak_bytes / 1e6:,.0f}"))
    return _tabular(table.rows, columns)


def _tabular(rows: Sequence[Row], columns: Sequence[_Column]) -> str:
    """The reference rows, which come last, stand below a rule; budgets are set apart."""
    lines = zip(*(column.cells for column in columns), strict=True)
    body: list[str] = []
    for row, before, cells in zip(rows, (None, *rows), lines, strict=False):
        if before is not None and row.is_reference and not before.is_reference:
            body.append(r"\midrule")
        elif before is not None and row.budget != before.budget:
            body.append(r"\addlinespace")
        body.append(_line(cells))
    return "\n".join(
        [
            rf"\begin{{tabular}}{{{''.join(column.align for column in columns)}}}",
            r"\toprule",
            _line([column.title for column in columns]),
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _float(tabular: str, caption: str, reference: str, notes: Sequence[str] = ()) -> str:
    text = "\\par\n".join(notes)
    return "\n".join(
        [
            r"\begin{table}[tbp]",
            r"\centering",
            rf"\caption{{{caption}}}",
            rf"\label{{tab:{reference}}}",
            r"\par\medskip\small\setlength{\tabcolsep}{4pt}",
            tabular,
            *([rf"\par\smallskip\parbox{{\linewidth}}{{\footnotesize {text}}}"] if notes else []),
            r"\end{table}",
        ]
    )


def _caption(table: Table) -> str:
    """What was measured, on how many seeds, and what the numbers after the signs are."""
    counts = sorted({row.score.n for row in table.rows if row.score})
    n = " or ".join(map(str, counts)) or "no"
    unit = "seed" if counts == [1] else "seeds"
    interval = paired = adjusted = ""
    if any(count > 1 for count in counts):
        interval = r" $\pm$ half the width of its 95\,\% $t$ interval"
        paired = r" with its 95\,\% $t$ interval"
        adjusted = ", $p$ Holm-adjusted over the table"
    return (
        f"{_measured(table)}: {latex(table.metric)} in \\%, mean over {n} distilling"
        f" {unit}{interval}; difference in points from {latex(table.baseline)} at the same"
        f" budget, paired by seed{paired}{adjusted}."
    )


def _measured(table: Table) -> str:
    return (
        f"Task {latex(table.task)}, student {latex(table.student)} with {table.parameters:,}"
        f" parameters, evaluator {latex(table.evaluator)}"
    )


def _references(titles: Sequence[str]) -> Iterator[str]:
    """A name for `\\ref` from each title, numbered where two would be the same."""
    seen: dict[str, int] = {}
    for title in titles:
        name = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "board"
        seen[name] = seen.get(name, 0) + 1
        yield name if seen[name] == 1 else f"{name}-{seen[name]}"


def _runs(row: Row) -> str:
    return str(row.score.n) if row.score else f"{row.runs}/{row.expected}"


def _score(row: Row, bold: bool) -> str:
    mark = rf" {latex(MARK)}" if row.degenerate_runs else ""
    if row.score is None:
        return f"{_NOTHING}{mark}"
    mean = percent(row.score.mean)
    interval = row.score.interval
    margin = "" if interval is None else rf" $\pm$ {percent(interval.half_width)}"
    return (rf"\textbf{{{mean}}}" if bold else mean) + margin + mark


def _difference(row: Row) -> str:
    if row.comparison is None:
        return _NOTHING
    difference = row.comparison.difference
    if difference.interval is None:
        return f"${signed(difference.mean)}$"
    low, high = difference.interval.low, difference.interval.high
    return f"${signed(difference.mean)}$ $[{signed(low)}, {signed(high)}]$"


def _adjusted(row: Row) -> str:
    if row.comparison is None or row.comparison.p_adjusted is None:
        return _NOTHING
    p = row.comparison.p_adjusted
    return "$<$0.001" if p < 0.001 else f"{p:.3f}"


def _sd(row: Row) -> str:
    return percent(row.score.sd) if row.score and row.score.sd is not None else _NOTHING


def _set_rows(row: Row) -> str:
    if row.size is None:
        return _NOTHING
    low, high = row.size.rows_min, row.size.rows_max
    return f"{low:,}" if low == high else latex(f"{low:,}–{high:,}")
