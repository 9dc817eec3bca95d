"""The board as JSON, for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from harness.leaderboard.board import Board
from harness.leaderboard.formats.columns import shown_facts
from harness.leaderboard.formats.conclusions import conclusions
from harness.leaderboard.formats.values import estimate_values, row_values
from harness.leaderboard.overview import Ranking, Transfer
from harness.leaderboard.table import Fact, Row, Table

SCHEMA = 1


@dataclass(frozen=True)
class Json:
    """Fractions, seconds and bytes; text is as the records have it, in ASCII escapes.

    cost: with timings, memory, dates and machine, which differ from run to run.
    """

    cost: bool = True

    def render(self, board: Board) -> str:
        document = {
            "schema": SCHEMA,
            "tables": [self._table(board, table) for table in board.tables],
            "rankings": [_ranking(ranking) for ranking in board.rankings],
            "transfers": [_transfer(transfer) for transfer in board.transfers],
            "facts": self._facts(board.facts),
        }
        return json.dumps(document, indent=1, allow_nan=False) + "\n"

    def _table(self, board: Board, table: Table) -> dict[str, Any]:
        return {
            "task": table.task,
            "student": table.student,
            "student_parameters": table.parameters,
            "evaluator": table.evaluator,
            "metric": table.metric,
            "conclusions": list(conclusions(table, cost=self.cost)),
            "rows": [self._row(board, table, row) for row in table.rows],
            "facts": self._facts(table.facts),
        }

    def _row(self, board: Board, table: Table, row: Row) -> dict[str, Any]:
        columns = {title: board.extra_cell(title, table, row) for title in board.extra_columns}
        return {
            "label": row.label,
            **row_values(row, cost=self.cost),
            "seed_scores": {str(seed): value for seed, value in row.seed_scores.items()},
            "notes": list(row.notes),
            "columns": columns,
        }

    def _facts(self, facts: tuple[Fact, ...]) -> dict[str, str]:
        shown: Iterable[Fact] = shown_facts(facts, cost=self.cost)
        return {fact.name: fact.text for fact in shown}


def _ranking(ranking: Ranking) -> dict[str, Any]:
    result = ranking.result
    return {
        "student": ranking.student,
        "evaluator": ranking.evaluator,
        "budget": ranking.budget,
        "tasks": list(ranking.tasks),
        "average_ranks": dict(zip(ranking.methods, result.ranks, strict=True)),
        "friedman_p_value": result.p_value,
        "critical_difference": result.critical_difference,
        "left_out": list(ranking.left_out),
    }


def _transfer(transfer: Transfer) -> dict[str, Any]:
    return {
        "task": transfer.task,
        "evaluator": transfer.evaluator,
        "budget": transfer.budget,
        "held_out": sorted(transfer.held_out),
        "seen_by": {student: list(methods) for student, methods in transfer.seen_by.items()},
        "rows": [
            {
                "method": row.method,
                "students": {
                    student: None if estimate is None else estimate.mean
                    for student, estimate in zip(transfer.students, row.by_student, strict=True)
                },
                **estimate_values("held_out_mean", row.held_out),
            }
            for row in transfer.rows
        ],
    }
