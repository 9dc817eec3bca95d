"""`results verify`, `gc` and `export`: look after results folders."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.console import data_console, print_json

if TYPE_CHECKING:
    from harness.verification import Finding, Verification

results = typer.Typer(
    name="results",
    help="Check, tidy and publish results folders.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
Folders = Annotated[list[Path], typer.Argument(metavar="FOLDER...", help="Results folders.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Plugin = Annotated[
    list[str] | None, typer.Option("--plugin", help="A module, or a one-file plugin's path.")
]


@results.command()
def verify(folders: Folders, plugin: Plugin = None, json: AsJson = False) -> None:
    """Check every record: whole, consistent, and with the metrics that its items give.

    Exits with 1 when something is wrong. Changes nothing.
    """
    from harness.plugins import PluginHost
    from harness.verification import verify as verify_folders

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


def _plain(finding: Finding) -> dict[str, str]:
    return {name: getattr(finding, name) for name in ("check", "where", "text")}


def _print_findings(done: Verification) -> None:
    from rich.table import Table
    from rich.text import Text

    from harness.leaderboard.escaping import printable

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
        f" {len(done.errors)} errors, {len(done.remarks)} remarks",
        markup=False,
    )
