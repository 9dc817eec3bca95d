"""`leaderboard`: rank the records of a results folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.console import data_console, log_console, warn
from harness.cli.options import Folders, Only, Plugin, narrowed, read_results

if TYPE_CHECKING:
    from harness.leaderboard.board import Board
    from harness.plugins import PluginHost


def leaderboard(
    folders: Folders = None,
    format: Annotated[
        str, typer.Option("--format", "-f", help="One of `harness ls format`.")
    ] = "terminal",
    out: Annotated[Path | None, typer.Option("--out", help="Write to a file.")] = None,
    check: Annotated[
        Path | None, typer.Option("--check", help="Fail when this file differs from the board.")
    ] = None,
    cost: Annotated[
        bool, typer.Option("--cost/--no-cost", help="With timings, memory and machine, or not.")
    ] = True,
    allow_mixed: Annotated[
        bool, typer.Option("--allow-mixed", help="Mix protocols and versions, and say so.")
    ] = False,
    metric: Annotated[
        str, typer.Option("--metric", help="Rank by this one instead of the task's main metric.")
    ] = "",
    baseline: Annotated[
        str, typer.Option("--baseline", help="The method that others are tested against.")
    ] = "random",
    task: Only = "",
    student: Only = "",
    evaluator: Only = "",
    budget: Only = "",
    open_page: Annotated[
        bool, typer.Option("--open", help="Write the HTML page and show it in the browser.")
    ] = False,
    plugin: Plugin = None,
) -> None:
    """Rank the records of one results folder, or of several together.

    With --check the board is made anew and compared with a committed file.
    """
    from harness.leaderboard.board import build_board
    from harness.plugins import PluginHost

    host = PluginHost.discover(plugin or [])
    results = read_results(folders)
    kept = narrowed(results, task=task, student=student, evaluator=evaluator, budget=budget)
    board = build_board(kept, allow_mixed=allow_mixed, metric=metric, baseline=baseline)
    if open_page:
        _open(host, board, out)
    elif check is not None:
        _check(host, board, check, format, cost=cost)
    elif out is not None:
        _write(out, render(host, board, format, cost=cost))
    else:
        print_board(host, board, format, cost=cost)


def render(host: PluginHost, board: Board, format: str, *, cost: bool = True) -> str:
    """The board as text in a registered format, with the columns that plugins add."""
    from harness.registry.components import option_names, resolve

    board = _with_plugin_columns(host, board)
    component = host.registry.find("format", format)
    options = {"cost": cost} if "cost" in option_names(component) else {}
    text: str = resolve(component, "", options).instance.render(board)
    return text if text.endswith("\n") else text + "\n"


def print_board(host: PluginHost, board: Board, format: str, *, cost: bool = True) -> None:
    """Prints to stdout; the terminal format uses the terminal's width and colours."""
    console = data_console()
    if format == "terminal" and console.is_terminal:
        from harness.leaderboard.formats.terminal import print_tables

        print_tables(_with_plugin_columns(host, board), console, cost=cost)
        return
    typer.echo(render(host, board, format, cost=cost), nl=False)


def _with_plugin_columns(host: PluginHost, board: Board) -> Board:
    return board.with_columns(host.gather("harness_leaderboard_columns", warn, board=board))


def _open(host: PluginHost, board: Board, out: Path | None) -> None:
    import tempfile
    import webbrowser

    page = out or Path(tempfile.mkdtemp(prefix="harness-")) / "leaderboard.html"
    _write(page, render(host, board, "html"))
    if not webbrowser.open(page.resolve().as_uri()):
        warn(f"no browser could be started; open {page} yourself")


def _write(path: Path, text: str) -> None:
    from harness.errors import UsageError
    from harness.storage.atomic import write_atomic

    try:
        write_atomic(path, text.encode())
    except OSError as error:
        raise UsageError(f"'{path}' cannot be written: {error.strerror}") from error
    log_console().print(f"wrote {path}")


def _check(host: PluginHost, board: Board, path: Path, format: str, *, cost: bool) -> None:
    from harness.errors import UsageError
    from harness.leaderboard.formats.check import differences

    try:
        committed = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"'{path}' cannot be read: {error.strerror}") from error
    found = differences(committed, render(host, board, format, cost=cost))
    if found:
        typer.echo(found, nl=False)
        log_console().print(f"{path} is not the board of these records", style="red")
        raise typer.Exit(1)
    log_console().print(f"{path} is the board of these records")
