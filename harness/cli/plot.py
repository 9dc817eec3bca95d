"""`plot`: a chart of a results folder as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.console import log_console, warn
from harness.cli.leaderboard import DEFAULT_FOLDER
from harness.cli.narrowing import Choice, narrowed
from harness.leaderboard.board import build_board


def plot(
    kind: Annotated[
        str, typer.Argument(metavar="KIND", help="scores, budget, cost, parameters, heatmap, ranks")
    ],
    folders: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FOLDER]...", help="Results folders. [runs/quickstart]"),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="FILE.svg, .png or .pdf")] = None,
    task: Choice = "",
    student: Choice = "",
    evaluator: Choice = "",
    budget: Choice = "",
    metric: Annotated[str, typer.Option(help="Instead of the task's main metric.")] = "",
) -> None:
    """Draw a chart: scores with intervals, against budget, cost or size, a heat map, ranks."""
    from harness.api import load_results
    from harness.leaderboard.charts.plotting import draw
    from harness.leaderboard.charts.plotting import plot as make_plot

    results = load_results(*(folders or [DEFAULT_FOLDER]))
    for problem in results.problems:
        warn(problem.reason)
    kept = narrowed(results, task=task, student=student, evaluator=evaluator, budget=budget)
    path = out or Path(f"{kind}.svg")
    draw(make_plot(build_board(kept, metric=metric), kind), path)
    log_console().print(f"drew {path}")
