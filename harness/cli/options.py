"""What several commands take: shared options, and the results folders that they read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.console import warn
from harness.suite import DEFAULT_FOLDER

if TYPE_CHECKING:
    from harness.records.results import Results

WHOLE = "100%"
"""The budget of the reference row, which is always kept."""
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Plugin = Annotated[
    list[str] | None, typer.Option("--plugin", help="A module, or a one-file plugin's path.")
]
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", envvar="HARNESS_DATA", help="Folder with one folder a task."),
]
Folders = Annotated[
    list[Path] | None,
    typer.Argument(metavar="[FOLDER]...", help=f"Results folders. [{DEFAULT_FOLDER}]"),
]
Only = Annotated[str, typer.Option(help="Keep only this one.")]


def read_results(folders: list[Path] | None) -> Results:
    """The records of the folders; says what is wrong with some."""
    from harness.api import load_results

    results = load_results(*(folders or [DEFAULT_FOLDER]))
    for text in (*(problem.reason for problem in results.problems), *results.notes):
        warn(text)
    return results


def narrowed(results: Results, *, task: str, student: str, evaluator: str, budget: str) -> Results:
    """What is left; an empty choice keeps all.

    Raises:
        UsageError: there is nothing of a chosen name.
    """
    return results.filter(
        task=task or (),
        student=student or (),
        evaluator=evaluator or (),
        budget=[budget, WHOLE] if budget else (),
    )
