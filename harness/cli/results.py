"""`results verify`, `gc` and `export`: look after results folders."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.console import data_console, print_json, warn
from harness.cli.options import AsJson, Plugin, read_results

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.upkeep.cleaning import Leftover
    from harness.upkeep.verification import Finding, Verification

results = typer.Typer(
    name="results",
    help="Check, tidy and publish results folders.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
Folders = Annotated[list[Path], typer.Argument(metavar="FOLDER...", help="Results folders.")]


@results.command()
def verify(folders: Folders, plugin: Plugin = None, json: AsJson = False) -> None:
    """Check every record: whole, consistent, and with the metrics that its items give.

    Exits with 1 when something is wrong. Changes nothing.
    """
    from harness.plugins import PluginHost
    from harness.upkeep.verification import verify as verify_folders

    done = verify_folders(folders, PluginHost.discover(plugin or []))
    if json:
        print_json(
            {
                "records": done.records,
                "failures": done.failures,
                "recomputed": done.recomputed,
                "errors": [_plain(finding) for finding in done.errors],
                "remarks": [_plain(finding) for finding in done.remarks],
            }
        )
    else:
        _print_findings(done)
    if done.errors:
        raise typer.Exit(1)


@results.command()
def gc(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A results folder.")],
    yes: Annotated[bool, typer.Option("--yes", help="Remove what is listed.")] = False,
    json: AsJson = False,
) -> None:
    """List what the records do not need: weights, work in progress, shared arrays, locks.

    Nothing is removed without --yes. Records and failures are never touched, and what a bench
    at work may want stays.
    """
    from harness.upkeep.cleaning import leftovers, remove

    found = leftovers(folder)
    gone = remove(folder, found.found) if yes else ()
    for note in found.notes:
        warn(note)
    if json:
        print_json(
            {
                "found": [_about(leftover) for leftover in found.found],
                "removed": [str(leftover.path) for leftover in gone],
                "held": list(found.held),
            }
        )
        return
    _print_leftovers(found.found)
    size = f"{len(found.found)} things, {found.bytes / 1e6:,.1f} MB"
    if not found.found:
        typer.echo(f"{folder} keeps nothing that can go")
    elif yes:
        freed = sum(leftover.bytes for leftover in gone)
        typer.echo(f"removed {len(gone)} of {size}: {freed / 1e6:,.1f} MB")
    else:
        typer.echo(f"{size} in {folder}; nothing was removed, --yes removes them")


def _about(leftover: Leftover) -> dict[str, str | int]:
    return {
        "kind": leftover.kind,
        "path": str(leftover.path),
        "bytes": leftover.bytes,
        "reason": leftover.reason,
    }


def _print_leftovers(found: Sequence[Leftover]) -> None:
    """A line for each folder; locks, which are empty files, are only counted."""
    from rich.table import Table
    from rich.text import Text

    table = Table("kind", "MB", "what", "why it can go")
    table.columns[1].justify = "right"
    for leftover in found:
        if leftover.kind != "lock":
            where = Text(str(leftover.path), overflow="fold")
            size = f"{leftover.bytes / 1e6:,.1f}"
            table.add_row(leftover.kind, size, where, leftover.reason)
    locks = sum(leftover.kind == "lock" for leftover in found)
    if locks:
        table.add_row("lock", "0.0", f"{locks} files", "nobody holds them")
    if table.row_count:
        data_console().print(table)


@results.command()
def export(
    folders: Folders,
    out: Annotated[Path, typer.Option("--out", help="New folder for the data set.")],
) -> None:
    """Write the records as a Hugging Face data set: Parquet, and a card with the board."""
    from harness.publishing.records import export_results

    loaded = read_results(folders)
    export_results(loaded, out)
    typer.echo(f"{len(loaded)} records in {out}")


def _plain(finding: Finding) -> dict[str, str]:
    return {name: getattr(finding, name) for name in ("check", "where", "text")}


def _print_findings(done: Verification) -> None:
    from rich.table import Table
    from rich.text import Text

    from harness.leaderboard.formats.escaping import printable

    console = data_console()
    if done.findings:
        table = Table("", "check", "where", "what")
        for finding in (*done.errors, *done.remarks):
            style = "red" if finding.level == "error" else "yellow"
            cells = (finding.level, finding.check, finding.where, finding.text)
            table.add_row(*(Text(printable(cell), style, overflow="fold") for cell in cells))
        console.print(table)
    console.print(
        f"{done.records} records checked, the metrics of {done.recomputed} computed again:"
        f" {len(done.errors)} errors, {len(done.remarks)} remarks"
    )
