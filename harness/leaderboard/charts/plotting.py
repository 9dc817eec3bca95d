"""A board's charts as SVG, PNG or PDF files, drawn without a browser."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from harness.drawing import VEGA_LITE, ChartSpec, vl_convert
from harness.errors import UsageError, unknown_name
from harness.leaderboard.board import Board
from harness.leaderboard.charts.documents import (
    KINDS,
    Point,
    colours,
    heat_map,
    neutral_methods,
    parameters,
    points,
)
from harness.leaderboard.charts.rank_chart import critical_difference

PLOTS = (*KINDS, "parameters", "heatmap", "ranks")
"""The charts by name: of one table, of students by size, of methods and students or tasks, of
average ranks."""
FILE_KINDS = ("svg", "png", "pdf")
_PNG_SCALE = 2.0


def plot(board: Board, kind: str) -> ChartSpec:
    """One chart of a board as a Vega-Lite document that carries its data.

    Raises:
        UsageError: an unknown chart, one that the records do not suffice for, or several tables
            where the chart can show one.
    """
    if kind not in PLOTS:
        raise unknown_name("plot", kind, PLOTS)
    if kind == "ranks":
        return _ranks(board)
    data = points(board)
    if not data:
        raise UsageError("no row of this board is complete, so there is nothing to draw")
    if kind == "heatmap":
        return heat_map(data, _across(data))
    palette = colours({p["method"] for p in data}, neutral=neutral_methods(board))
    if kind == "parameters":
        _require_one(data, ("task", "evaluator"))
        return parameters(data, palette)
    if len(board.tables) > 1:
        titles = "; ".join(table.title for table in board.tables)
        raise UsageError(
            f"the plot '{kind}' shows one table, these records make {len(board.tables)}: {titles}",
            hint="Choose with --task, --student or --evaluator.",
        )
    return KINDS[kind](data, palette)


def draw(spec: ChartSpec, path: Path) -> None:
    """Writes a chart in the format that the file's ending names.

    Raises:
        UsageError: an ending that is none of svg, png and pdf.
        MissingDependencyError: the extra `plots` is not installed.
    """
    from harness.storage.atomic import write_atomic

    ending = path.suffix.lstrip(".").lower()
    if ending not in FILE_KINDS:
        raise UsageError(
            f"'{path.name}' should end in one of {', '.join(FILE_KINDS)}",
            hint="The ending chooses the format.",
        )
    convert = vl_convert()
    drawers: dict[str, Callable[[], Any]] = {
        "svg": lambda: convert.vegalite_to_svg(spec, vl_version=VEGA_LITE).encode(),
        "png": lambda: convert.vegalite_to_png(spec, vl_version=VEGA_LITE, scale=_PNG_SCALE),
        "pdf": lambda: convert.vegalite_to_pdf(spec, vl_version=VEGA_LITE),
    }
    try:
        write_atomic(path, drawers[ending]())
    except OSError as error:
        raise UsageError(f"'{path}' cannot be written: {error.strerror}") from error


def _require_one(data: Sequence[Point], names: Sequence[str]) -> None:
    """Raises UsageError where points of several tasks or evaluators would share a chart."""
    for name in names:
        found = sorted({point[name] for point in data})
        if len(found) > 1:
            raise UsageError(
                f"the plot 'parameters' shows one {name}, these records have {', '.join(found)}",
                hint=f"Choose with --{name}.",
            )


def _across(data: Sequence[Point]) -> str:
    """What the columns of a heat map are: students of one task, or tasks with one student."""
    students, tasks = ({point[name] for point in data} for name in ("student", "task"))
    if len(students) > 1 and len(tasks) > 1:
        raise UsageError(
            f"a heat map shows one task or one student, these records have {len(tasks)} tasks and"
            f" {len(students)} students",
            hint="Choose with --task or --student.",
        )
    return "student" if len(students) > 1 else "task"


def _ranks(board: Board) -> ChartSpec:
    if not board.rankings:
        raise UsageError(
            "average ranks need two tasks and three methods that are complete on all of them"
        )
    if len(board.rankings) > 1:
        titles = "; ".join(ranking.title for ranking in board.rankings)
        raise UsageError(
            f"there are {len(board.rankings)} rankings: {titles}",
            hint="Choose with --student, --evaluator or --budget.",
        )
    return critical_difference(board.rankings[0])
