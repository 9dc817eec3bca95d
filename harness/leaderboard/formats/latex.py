"""The board as LaTeX tables for a paper."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from harness.leaderboard.board import Board
from harness.leaderboard.formats.columns import Column, columns_of, shown_facts, shown_notes
from harness.leaderboard.formats.escaping import latex, printable
from harness.leaderboard.formats.summaries import Summary, summaries
from harness.leaderboard.scoring import SIGNIFICANCE
from harness.leaderboard.stats import holm, paired_difference
from harness.leaderboard.table import Fact, Row, Table

_HEADER = r"% Made by harness leaderboard --format latex; \input it. Needs \usepackage{booktabs}."
_LEFT_OUT = ("#", "verdict")
"""Columns of scores that a narrow page does without: the order and p say the same."""
_MINUS = re.compile(r"(?<![\w.])-(?=\d)")


@dataclass(frozen=True)
class Latex:
    """For each board table a table of scores, and one of sizes and costs.

    The tables are ASCII and need booktabs alone; facts stand in comments after each. The best
    mean of a budget is bold, and so is each that a test cannot tell from it: see `bold_rows`.

    cost: with timings, memory, dates and machine, which differ from run to run.
    """

    cost: bool = True

    def render(self, board: Board) -> str:
        reference = _References()
        parts = [_HEADER]
        for table in board.tables:
            name = reference.of(table.title)
            parts += [*self._tables(board, table, name), self._facts(table.facts)]
        for summary in summaries(board):
            parts.append(_summary(summary, reference.of(summary.title)))
        parts.append(self._facts(board.facts))
        return "\n\n".join(parts) + "\n"

    def _tables(self, board: Board, table: Table, name: str) -> list[str]:
        columns = columns_of(board, table, cost=self.cost)
        rules = _rules(table.rows)
        labels = bold_rows(table.rows)
        bold = [place for place, row in enumerate(table.rows) if row.label in labels]
        scores, sizes = [], []
        for column in columns:
            title = column.title if column.part == "score" else ""
            if column.part in ("row", "cost"):
                sizes.append(_cells(column))
            if column.part != "cost" and title not in _LEFT_OUT:
                scores.append(_cells(column, bold if title == f"{table.metric} %" else ()))
        notes = [_bold_note(table.rows), *map(latex, shown_notes(table))]
        bill = " and what they cost" if self.cost else ""
        about = (
            f"{_measured(table)}: places that a method may hold (ranks), difference from the"
            " reference and sd over seeds in points, label-robust score (LRS), size of the"
            f" sets{bill}."
        )
        return [
            _float(_tabular(scores, rules), _caption(table), name, notes),
            _float(_tabular(sizes, rules), about, f"{name}-sizes"),
        ]

    def _facts(self, facts: tuple[Fact, ...]) -> str:
        shown = shown_facts(facts, cost=self.cost)
        return "\n".join(f"% {printable(fact.name)}: {printable(fact.text)}" for fact in shown)


def bold_rows(rows: Sequence[Row]) -> frozenset[str]:
    """Labels of the best rows of each budget and of those that a test cannot tell from them.

    Each ranked row is compared with the best of its budget by the t test paired by seed; the
    comparisons at one budget are one family for Holm's correction. With one seed, or with
    differences that have no spread, there is nothing to test with, and only the best are bold.
    """
    return frozenset(
        label
        for budget in {row.budget for row in rows}
        for label in _bold_at([row for row in rows if row.budget == budget])
    )


def _bold_at(rows: Sequence[Row]) -> list[str]:
    best = [row for row in rows if row.rank == 1]
    others = [row for row in rows if row.rank is not None and row.rank > 1]
    tested = {row.label: p for row in others if (p := _p_value(best[0], row)) is not None}
    adjusted = zip(tested, holm(list(tested.values())), strict=True)
    return [*(row.label for row in best), *(label for label, p in adjusted if p >= SIGNIFICANCE)]


def _p_value(first: Row, second: Row) -> float | None:
    seeds = sorted(first.seed_scores)
    a, b = ([row.seed_scores[seed] for seed in seeds] for row in (first, second))
    return paired_difference(a, b).p_value


def _bold_note(rows: Sequence[Row]) -> str:
    best = "Bold: the best mean at each budget"
    if all(row.score is None or row.score.n == 1 for row in rows):
        return f"{best}; with one seed nothing is tested."
    return (
        f"{best}, and every method whose difference from it gives no evidence of a difference"
        " (paired by seed, two-sided $t$ test, Holm-adjusted over the comparisons with the best"
        f" at that budget, level {SIGNIFICANCE:g})."
    )


@dataclass(frozen=True)
class _Cells:
    """One column's title and cells as LaTeX."""

    title: str
    cells: Sequence[str]
    align: str


def _cells(column: Column, bold: Collection[int] = ()) -> _Cells:
    """A column escaped, with minus signs in its numbers and some of its means in bold."""
    cells = [latex(text) for text in column.cells]
    if column.part != "row" and not column.foreign:
        cells = [_MINUS.sub(r"$-$", cell) for cell in cells]
    for place in bold:
        cells[place] = re.sub(r"^[\d.]+", r"\\textbf{\g<0>}", cells[place])
    return _Cells(latex(column.title), cells, "l" if column.left else "r")


def _rules(rows: Sequence[Row]) -> dict[int, str]:
    """What stands above a row: a rule above the references, which come last; space elsewhere."""
    rules = {}
    for place, (above, row) in enumerate(pairwise(rows), start=1):
        if row.is_reference and not above.is_reference:
            rules[place] = r"\midrule"
        elif row.budget != above.budget:
            rules[place] = r"\addlinespace"
    return rules


def _tabular(columns: Sequence[_Cells], rules: Mapping[int, str]) -> str:
    body: list[str] = []
    for place, cells in enumerate(zip(*(column.cells for column in columns), strict=True)):
        body += [*([rules[place]] if place in rules else []), _line(cells)]
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


def _float(tabular: str, caption: str, name: str, notes: Sequence[str] = ()) -> str:
    text = "\\par\n".join(notes)
    return "\n".join(
        [
            r"\begin{table}[tbp]",
            r"\centering",
            rf"\caption{{{caption}}}",
            rf"\label{{tab:{name}}}",
            r"\par\medskip\footnotesize\setlength{\tabcolsep}{3pt}",
            tabular,
            *([rf"\par\smallskip\parbox{{\linewidth}}{{{text}}}"] if notes else []),
            r"\end{table}",
        ]
    )


def _summary(summary: Summary, name: str) -> str:
    tabular = _tabular([_cells(column) for column in summary.columns], {})
    return _float(tabular, f"{latex(summary.title)}.", name, [latex(summary.note)])


def _caption(table: Table) -> str:
    """What was measured, over how many seeds, and what the signs in the cells mean."""
    counts = sorted({row.score.n for row in table.rows if row.score})
    n = " or ".join(map(str, counts)) or "no"
    unit = "seed" if counts == [1] else "seeds"
    interval = paired = adjusted = ""
    if any(count > 1 for count in counts):
        interval = r" $\pm$ half the width of its 95\,\% $t$ interval"
        paired = r" with its 95\,\% $t$ interval"
        adjusted = ", $p$ Holm-adjusted over the table"
    opponents = latex(" or ".join(table.opponents))
    return (
        f"{_measured(table)}: {latex(table.metric)} in \\%, mean over $n$ = {n} distilling"
        f" {unit}{interval}; difference in points from {opponents} at the same"
        f" budget, paired by seed{paired}{adjusted}; ranks at the budget with other seeds and"
        " items."
    )


def _measured(table: Table) -> str:
    return (
        f"Task {latex(table.task)}, student {latex(table.student)} with {table.parameters:,}"
        f" parameters, evaluator {latex(table.evaluator)}"
    )


class _References:
    """Names for `\\ref` made from titles, numbered where two would be the same."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}

    def of(self, title: str) -> str:
        name = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "board"
        self._seen[name] = self._seen.get(name, 0) + 1
        return name if self._seen[name] == 1 else f"{name}-{self._seen[name]}"
