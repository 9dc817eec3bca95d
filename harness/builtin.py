"""The host's own components: executors and leaderboard formats."""

from __future__ import annotations

from harness.hookspecs import Register, hookimpl

HARNESS_API = 1


@hookimpl
def harness_register_executors(register: Register) -> None:
    register(
        "in-process",
        "harness.executors.in_process:InProcess",
        summary="one stage at a time in this process",
    )
    register(
        "processes",
        "harness.executors.processes:Processes",
        summary="--jobs worker processes that share the results folder",
    )


@hookimpl
def harness_register_leaderboard_formats(register: Register) -> None:
    register(
        "terminal", "harness.leaderboard.formats.terminal:Terminal", summary="plain text tables"
    )
    register("markdown", "harness.leaderboard.formats.markdown:Markdown", summary="for a README")
    register(
        "latex", "harness.leaderboard.formats.latex:Latex", summary="booktabs tables for a paper"
    )
    register("csv", "harness.leaderboard.formats.delimited:Csv", summary="one line a row")
    register("html", "harness.leaderboard.page.document:Html", summary="one interactive page")
    register("json", "harness.leaderboard.formats.json_format:Json", summary="for programs")
