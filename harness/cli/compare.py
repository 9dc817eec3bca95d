"""`compare`: two methods, results folders or commits, with what changed and whether it is real."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.console import data_console, print_json, warn
from harness.cli.options import AsJson


def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="A folder, method or commit.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Another of the same kind.")],
    folder: Annotated[
        Path | None,
        typer.Option("--in", help="Where methods and commits are looked up; else runs/quickstart."),
    ] = None,
    items: Annotated[
        int, typer.Option("--items", min=0, help="Test items to name on either side.")
    ] = 5,
    allow_mixed: Annotated[
        bool, typer.Option("--allow-mixed", help="Compare different protocols, and say so.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Compare A with B: what changed, is the difference real, and on which test items?

    A and B are the first of these that both are:

    - existing folders: the same methods, measured twice

    - methods of the results folder, as `herding` or `herding@20/class`

    - commits that its records were made with, as `1a2b3c4`

    Runs are paired by their seeds; only those that both sides have count.
    """
    from harness.comparison.comparing import compare as found
    from harness.comparison.terminal import print_comparison

    comparison = found(first, second, folder=folder, allow_mixed=allow_mixed, items=items)
    for problem in comparison.problems:
        warn(problem)
    if json:
        print_json(comparison.to_json())
    else:
        print_comparison(comparison, data_console())
