"""The board as GitHub-flavoured Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.leaderboard.board import Board
from harness.leaderboard.formats.columns import Column, columns_of, shown_facts, shown_notes
from harness.leaderboard.formats.conclusions import conclusions
from harness.leaderboard.formats.escaping import markdown
from harness.leaderboard.formats.summaries import Summary, summaries
from harness.leaderboard.table import Fact, Table


@dataclass(frozen=True)
class Markdown:
    """A heading, a table and a list of facts for each task, student and evaluator.

    cost: with timings, memory, dates and machine, which differ from run to run.
    level: of the headings, 1 to 6.
    """

    cost: bool = True
    level: int = 3

    def render(self, board: Board) -> str:
        parts = [self._table(board, table) for table in board.tables]
        parts += [self._summary(summary) for summary in summaries(board)]
        parts.append(_facts(shown_facts(board.facts, cost=self.cost), bullet="-"))
        return "\n\n".join(parts) + "\n"

    def _table(self, board: Board, table: Table) -> str:
        notes = "\n".join(f"- {markdown(note)}" for note in shown_notes(table))
        parts = [
            f"{'#' * self.level} {markdown(table.title)}",
            "\n".join(f"- {markdown(text)}" for text in conclusions(table, cost=self.cost)),
            _pipes(columns_of(board, table, cost=self.cost)),
            notes,
            _facts(shown_facts(table.facts, cost=self.cost), bullet="*"),
        ]
        return "\n\n".join(part for part in parts if part)

    def _summary(self, summary: Summary) -> str:
        heading = f"{'#' * self.level} {markdown(summary.title)}"
        return "\n\n".join((heading, _pipes(summary.columns), markdown(summary.note)))


def _pipes(columns: Sequence[Column]) -> str:
    lines = zip(*(_pipe_cells(column) for column in columns), strict=True)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _pipe_cells(column: Column) -> list[str]:
    safe = [markdown(text) if column.foreign else text for text in (column.title, *column.cells)]
    return [safe[0], ":--" if column.left else "--:", *safe[1:]]


def _facts(facts: Iterable[Fact], *, bullet: str) -> str:
    """A list; two that follow each other need different bullets, or Markdown joins them."""
    return "\n".join(f"{bullet} {markdown(fact.name)}: {markdown(fact.text)}" for fact in facts)
