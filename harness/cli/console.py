"""The two consoles: stdout carries data, stderr carries progress, warnings and errors."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from harness.machine.progress import BarProgress, LineProgress
from harness.registry.specs import split_specs

if TYPE_CHECKING:
    from harness.context import Progress
    from harness.plugins import BrokenPlugin


def data_console() -> Console:
    """For results. Piped output is as wide as its content; no text is read as markup."""
    width = None if sys.stdout.isatty() else 200
    return Console(width=width, highlight=False, markup=False, emoji=False)


def log_console() -> Console:
    """For everything else."""
    return Console(stderr=True, highlight=False, markup=False, emoji=False)


def print_error(message: str, hint: str = "") -> None:
    console = log_console()
    console.print(Text.assemble(("error:", "bold red"), f" {message}"), soft_wrap=True)
    if hint:
        console.print(hint, soft_wrap=True)


def warn(message: str) -> None:
    log_console().print(Text.assemble(("warning:", "yellow"), f" {message}"), soft_wrap=True)


def warn_of_broken(broken: list[BrokenPlugin]) -> None:
    for plugin in broken:
        origin = f" ({plugin.distribution})" if plugin.distribution else ""
        warn(f"plugin '{plugin.name}'{origin} was refused: {plugin.reason}. {plugin.hint}")


def print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


@contextmanager
def shown_progress() -> Iterator[Progress]:
    """Bars on a terminal, one line a stage elsewhere."""
    console = log_console()
    if console.is_terminal:
        with BarProgress(console) as bars:
            yield bars
    else:
        yield LineProgress(console)


def split_list(values: list[str] | None) -> list[str]:
    """Flattens repeats and comma lists of one option."""
    return [spec for value in values or [] for spec in split_specs(value)]
