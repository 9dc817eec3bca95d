"""The board as tables for a terminal, in colour where the console has it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.leaderboard.board import Board
from harness.leaderboard.formats.columns import Column, columns_of, shown_facts, shown_notes
from harness.leaderboard.formats.conclusions import conclusions
from harness.leaderboard.formats.escaping import printable
from harness.leaderboard.formats.summaries import summaries
from harness.leaderboard.table import Table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

_STYLES = {"better": "green", "worse": "red"}
_TEXT_WIDTH = 100


@dataclass(frozen=True)
class Terminal:
    """Plain text, as wide as the tables need.

    cost: with timings, memory, dates and machine, which differ from run to run.
    """

    cost: bool = True

    def render(self, board: Board) -> str:
        from io import StringIO

        from rich.console import Console

        out = StringIO()
        widest = max(_measure(table) for table in rich_tables(board, cost=self.cost))
        console = Console(
            file=out, width=max(widest, _TEXT_WIDTH), color_system=None, legacy_windows=False
        )
        print_tables(board, console, cost=self.cost)
        return "".join(f"{line.rstrip()}\n" for line in out.getvalue().splitlines())


def print_tables(board: Board, console: Console, *, cost: bool = True) -> None:
    """Prints each table with its notes and facts, then what holds for the whole board."""
    for table in board.tables:
        console.print(_line(table.title, style="bold"))
        for line in conclusions(table, cost=cost):
            console.print(_line(line))
        console.print()
        for rich_table in _tables(board, table, cost=cost):
            console.print(rich_table)
            console.print()
        for line in shown_notes(table):
            console.print(_line(line, style="yellow"))
        for fact in shown_facts(table.facts, cost=cost):
            console.print(_line(f"{fact.name}: {fact.text}", style="dim"))
        console.print()
    for summary in summaries(board):
        console.print(_line(summary.title, style="bold"))
        console.print(_rich_table(summary.columns))
        console.print(_line(summary.note, style="dim"))
        console.print()
    for fact in shown_facts(board.facts, cost=cost):
        console.print(_line(f"{fact.name}: {fact.text}", style="dim"))


def rich_tables(board: Board, *, cost: bool = True) -> list[RichTable]:
    """Two tables for each of the board's: scores, and what they cost."""
    return [rich for table in board.tables for rich in _tables(board, table, cost=cost)]


def _tables(board: Board, table: Table, *, cost: bool) -> Iterator[RichTable]:
    columns = columns_of(board, table, cost=cost)
    scores = [column for column in columns if column.part in ("row", "score", "extra")]
    bill = [column for column in columns if column.part in ("row", "cost")]
    pairs = zip(table.rows, table.rows[1:], strict=False)
    ends = {i for i, (row, following) in enumerate(pairs) if row.budget != following.budget}
    yield _rich_table(scores, ends)
    yield _rich_table(bill, ends)


def bare_table(title: str = "") -> RichTable:
    """A table without columns yet, and with a rule under its heads alone."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as RichTable

    return RichTable(
        title=_line(title, style="bold") if title else None,
        title_justify="left",
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )


def _rich_table(columns: Sequence[Column], last_of_section: Collection[int] = ()) -> RichTable:
    rich_table = bare_table()
    for column in columns:
        rich_table.add_column(
            _line(column.title),
            justify="left" if column.left else "right",
            overflow="fold",
            no_wrap=column.part == "row",
        )
    lines = zip(*(column.cells for column in columns), strict=True)
    for position, cells in enumerate(lines):
        rich_table.add_row(
            *(_line(cell, style=_STYLES.get(cell, "")) for cell in cells),
            end_section=position in last_of_section,
        )
    return rich_table


def _line(text: str, style: str = "") -> Text:
    """Text without markup, so that brackets in a name stay brackets."""
    from rich.text import Text

    return Text(printable(text), style=style)


def _measure(table: RichTable) -> int:
    from rich.console import Console

    return Console(width=10_000).measure(table).maximum
