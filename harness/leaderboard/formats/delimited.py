"""The board as comma-separated values, one line for each row of each table."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

from harness.leaderboard.board import Board
from harness.leaderboard.formats.columns import shown_facts
from harness.leaderboard.formats.escaping import spreadsheet
from harness.leaderboard.formats.values import Value, row_values
from harness.leaderboard.table import Row, Table

_REPEATED = {"data", "seeds", "protocol", "MIXED", "suite", "commit"}


@dataclass(frozen=True)
class Csv:
    """Fractions, seconds and bytes, with the facts that let a line stand alone.

    cost: with timings, memory, dates and machine, which differ from run to run.
    """

    cost: bool = True

    def render(self, board: Board) -> str:
        lines = [self._line(board, table, row) for table in board.tables for row in table.rows]
        names = list(dict.fromkeys(name for line in lines for name in line))
        out = io.StringIO()
        writer = csv.DictWriter(out, names, restval="", lineterminator="\n")
        writer.writerow({name: spreadsheet(name) for name in names})
        for line in lines:
            writer.writerow({name: _cell(value) for name, value in line.items()})
        return out.getvalue()

    def _line(self, board: Board, table: Table, row: Row) -> dict[str, Value]:
        facts = shown_facts((*table.facts, *board.facts), cost=self.cost)
        about = {fact.name: fact.text for fact in facts if fact.name in _REPEATED}
        return {
            "task": table.task,
            "student": table.student,
            "student_parameters": table.parameters,
            "evaluator": table.evaluator,
            "metric": table.metric,
            **row_values(row, cost=self.cost),
            "notes": "; ".join(row.notes),
            **about,
            **{f"plugin: {title}": board.extra_cell(title, table, row)
               for title in board.extra_columns},
        }  # fmt: skip


def _cell(value: Value) -> Value:
    return spreadsheet(value) if isinstance(value, str) else value
