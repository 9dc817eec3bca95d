"""The JSON that the HTML page shows: cells, chart points, and every run."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.leaderboard.board import Board
from harness.leaderboard.charts.documents import (
    KINDS,
    Point,
    colours,
    heat_map,
    neutral_methods,
    points,
)
from harness.leaderboard.charts.rank_chart import critical_difference
from harness.leaderboard.formats.columns import columns_of, shown_facts, shown_notes
from harness.leaderboard.formats.conclusions import conclusions
from harness.leaderboard.formats.escaping import printable
from harness.leaderboard.formats.summaries import Summary, summaries
from harness.leaderboard.grouping import group_tables
from harness.leaderboard.overview import Ranking, Transfer
from harness.leaderboard.table import Fact, Table
from harness.records.record import Record

JsonValue = Any


def payload(board: Board) -> JsonValue:
    """Everything that the page shows, as JSON values; text is made printable, not escaped."""
    boards = _boards(board)
    drawn = {metric: points(one) for metric, one in boards.items()}
    methods = {point["method"] for data in drawn.values() for point in data}
    palette = colours(methods, neutral=neutral_methods(board))
    document = {
        "metrics": list(boards),
        "tables": [_table(boards, board, position) for position in range(len(board.tables))],
        "runs": _runs(board),
        "charts": {metric: _charts(data, palette) for metric, data in drawn.items()},
        "points": drawn,
        "summaries": [_summary(summary) for summary in summaries(board)],
        "facts": _facts(board.facts),
    }
    return _printable(document)


def _boards(board: Board) -> dict[str, Board]:
    """The board under each metric of its records; the first is the one it was made with."""
    first = board.tables[0].metric
    if board.made is None:
        return {first: board}
    others = [metric for metric in board.made.metrics if metric != first]
    return {first: board} | {metric: board.made.board(metric) for metric in others}


def _table(boards: Mapping[str, Board], board: Board, position: int) -> JsonValue:
    table = board.tables[position]
    place = (table.task, table.student, table.evaluator)
    return {
        "task": table.task,
        "student": table.student,
        "evaluator": table.evaluator,
        "title": table.title,
        "by_metric": {
            metric: _cells(one, same)
            for metric, one in boards.items()
            for same in one.tables
            if (same.task, same.student, same.evaluator) == place
        },
        "notes": shown_notes(table),
        "facts": _facts(table.facts),
    }


def _cells(board: Board, table: Table) -> JsonValue:
    columns = columns_of(board, table, cost=True)
    return {
        "conclusions": conclusions(table, cost=True),
        "columns": [{"title": c.title, "part": c.part, "left": c.left} for c in columns],
        "rows": [
            {
                "label": row.label,
                "method": row.distiller,
                "budget": row.budget,
                "reference": row.is_reference,
                "verdict": row.comparison.verdict if row.comparison else None,
                "cells": [column.cells[line] for column in columns],
            }
            for line, row in enumerate(table.rows)
        ],
    }


def _runs(board: Board) -> JsonValue:
    """Table title -> row label -> its runs, in the order of their seeds."""
    if board.made is None:
        return {}
    results = board.made.results
    groups = group_tables(
        results.records, results.failures, expected=board.made.expected, allow_mixed=True
    )
    return {
        table.title: {
            f"{row.distiller} @ {row.budget}": _row_runs(row.records, results.pictures)
            for row in group.rows
        }
        for table, group in zip(board.tables, groups, strict=True)
    }


def _row_runs(
    records: Iterable[Record], pictures: Mapping[str, tuple[Path, ...]]
) -> list[JsonValue]:
    """A row's runs; of pictures, which are large, only those of the first."""
    ordered = sorted(records, key=lambda r: (r.distill_seed, r.fit_seed))
    shown: set[str] = set()
    runs = []
    for record in ordered:
        runs.append(_run(record, with_set=record.distill_key not in shown))
        shown.add(record.distill_key)
    if runs:
        runs[0]["pictures"] = [_picture(path) for path in pictures.get(ordered[0].key, ())]
    return runs


def _picture(path: Path) -> JsonValue:
    content = base64.b64encode(path.read_bytes()).decode()
    return {"name": path.stem.replace("-", " "), "source": f"data:image/png;base64,{content}"}


def _run(record: Record, *, with_set: bool) -> JsonValue:
    """One run; what belongs to a set that several runs share is given once."""
    made = record.provenance
    set_facts = {
        "samples": [dict(row) for row in record.distilled.samples],
        "report": dict(record.distilled.report),
        "options": record.distiller.options,
    }
    return {
        "key": record.key,
        "distill_seed": record.distill_seed,
        "fit_seed": record.fit_seed,
        "metrics": {name: round(100 * value, 2) for name, value in record.metrics.items()},
        "learning_rate": record.tuning.chosen,
        "seconds": {
            "distill": round(record.costs.distill.seconds, 2),
            "fit": round(record.costs.fit.seconds, 2),
            "evaluate": round(record.costs.evaluate.seconds, 2),
        },
        "command": made.command,
        "provenance": {
            "commit": f"{made.commit or 'none'}{' (dirty)' if made.dirty else ''}",
            "created": made.created,
            "hardware": f"{made.processor}, {made.cores} cores, {made.device}",
            "software": ", ".join(f"{n} {v}" for n, v in sorted(made.packages.items())),
        },
        "curves": {
            name: {"steps": list(curve.steps), "values": list(curve.values)}
            for name, curve in record.curves.items()
            if with_set or not name.startswith("distill: ")
        },
        "set": set_facts if with_set else None,
    }


def _charts(data: Sequence[Point], palette: Mapping[str, str]) -> JsonValue:
    """Chart documents without data, which the page puts in as its filters say."""
    made = {name: chart(data, palette) for name, chart in KINDS.items()}
    made["students"] = heat_map(data)
    return {
        name: {**chart, "data": {"name": "points", "values": []}} for name, chart in made.items()
    }


def _summary(summary: Summary) -> JsonValue:
    about = summary.about
    ranking = about if isinstance(about, Ranking) else None
    return {
        "title": summary.title,
        "task": about.task if isinstance(about, Transfer) else "",
        "student": ranking.student if ranking else "",
        "budget": about.budget,
        "chart": critical_difference(ranking) if ranking else None,
        "note": summary.note,
        "columns": [column.title for column in summary.columns],
        "rows": [list(line) for line in zip(*(c.cells for c in summary.columns), strict=True)],
    }


def _facts(facts: Iterable[Fact]) -> JsonValue:
    return [[fact.name, fact.text] for fact in shown_facts(tuple(facts), cost=True)]


def _printable(value: JsonValue) -> JsonValue:
    """The same document without control characters in any text."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {printable(name): _printable(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_printable(part) for part in value]
    return value
