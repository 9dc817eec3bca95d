"""The command-line application: the project's own commands, and those that plugins add."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli.compare import compare
from harness.cli.console import warn, warn_of_broken
from harness.cli.inspecting import doctor, ls, plugins
from harness.cli.leaderboard import leaderboard
from harness.cli.plot import plot
from harness.cli.results import results
from harness.cli.running import bench, distill, plan
from harness.cli.showing import show
from harness.plugins import PluginHost
from harness.version import __version__

_EPILOG = "Start with: harness bench --distiller k-means,herding --student bert"


def make_app(host: PluginHost) -> typer.Typer:
    """The command line with every plugin's commands."""
    app = typer.Typer(
        name="harness",
        help="Which distillation method gives the most on your task and your student,"
        " and is the difference real?",
        epilog=_EPILOG,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    for command in (bench, plan, distill, ls, show, leaderboard, plot, compare, plugins, doctor):
        app.command()(command)
    app.add_typer(results)
    host.gather("harness_register_commands", warn, app=app)
    warn_of_broken(host.broken)
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks; works anywhere on the line.")
    ] = False,
) -> None:
    del version, debug
