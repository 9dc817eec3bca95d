"""`plot`: a chart of a results folder as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.console import log_console
from harness.cli.options import Folders, Only, narrowed, read_results
from harness.leaderboard.board import build_board


def plot(
    kind: Annotated[
        str, typer.Argument(metavar="KIND", help="scores, budget, cost, parameters, heatmap, ranks")
    ],
    folders: Folders = None,
    out: Annotated[Path | None, typer.Option("--out", help="FILE.svg, .png or .pdf")] = None,
    task: Only = "",
    student: Only = "",
    evaluator: Only = "",
    budget: Only = "",
    metric: Annotated[str, typer.Option(help="Instead of the task's main metric.")] = "",
) -> None:
    """Draw a chart: scores with intervals, against budget, cost or size, a heat map, ranks."""
    from harness.leaderboard.charts.plotting import draw
    from harness.leaderboard.charts.plotting import plot as make_plot

    results = read_results(folders)
    kept = narrowed(results, task=task, student=student, evaluator=evaluator, budget=budget)
    path = out or Path(f"{kind}.svg")
    draw(make_plot(build_board(kept, metric=metric), kind), path)
    log_console().print(f"drew {path}")
