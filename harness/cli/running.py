"""`bench`, `plan` and `distill`: the commands that do the work."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.console import (
    data_console,
    log_console,
    print_json,
    shown_progress,
    split_list,
    warn,
)
from harness.cli.options import AsJson, DataDir, Plugin
from harness.errors import INTERRUPTED, UsageError

if TYPE_CHECKING:
    from harness.api import DistillResult
    from harness.plan import Plan
    from harness.planning.request import Request
    from harness.storage.store import Store


class RerunChoice(StrEnum):
    missing = "missing"
    failed = "failed"
    always = "always"
    never = "never"


SuiteArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[SUITE]",
        help="A suite's name, or the path of a TOML file; when left out, the quickstart for what"
        " the named student, task or method is for.",
    ),
]
Distillers = Annotated[
    list[str] | None,
    typer.Option("--distiller", "-d", help="Methods, instead of the suite's (a,b or repeated)."),
]
Students = Annotated[
    list[str] | None, typer.Option("--student", "-s", help="Students: NAME[:VARIANT].")
]
Tasks = Annotated[list[str] | None, typer.Option("--task", "-t", help="Tasks: NAME or jsonl:PATH.")]
Evaluators = Annotated[list[str] | None, typer.Option("--evaluator", "-e", help="Evaluators.")]
Budgets = Annotated[
    list[str] | None, typer.Option("--budget", help="Budgets: 20/class, 200rows or 1%.")
]
Seeds = Annotated[str, typer.Option("--seeds", help="Distilling seeds, such as 0,1,2 or 0-19.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change an option, such as recipe.steps=50."),
]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Results folder. [runs/SUITE]")]
ExecutorName = Annotated[str, typer.Option("--executor", help="in-process, processes, ...")]
Jobs = Annotated[int, typer.Option("--jobs", "-j", help="Workers of the executor.")]
Rerun = Annotated[RerunChoice, typer.Option("--rerun", help="Which cells to compute.")]
FailFast = Annotated[
    bool, typer.Option("--fail-fast/--keep-going", help="Stop at the first failed cell, or not.")
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps, ...")]
Threads = Annotated[int, typer.Option("--threads", help="Threads of a worker; 0: torch's choice.")]


def bench(
    suite: SuiteArgument = None,
    distiller: Distillers = None,
    student: Students = None,
    task: Tasks = None,
    evaluator: Evaluators = None,
    budget: Budgets = None,
    seeds: Seeds = "",
    setting: Settings = None,
    data_dir: DataDir = None,
    output: Output = None,
    plugin: Plugin = None,
    executor: ExecutorName = "in-process",
    jobs: Jobs = 1,
    rerun: Rerun = RerunChoice.missing,
    fail_fast: FailFast = False,
    device: Device = "auto",
    threads: Threads = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the plan.")] = False,
    json: AsJson = False,
) -> None:
    """Run methods under one protocol and print the leaderboard.

    The rows random and full are always there. The same command again goes on where it stopped.
    """
    from harness import api

    request = _request(suite, distiller, student, task, evaluator, budget, seeds, setting,
                       data_dir, output, plugin)  # fmt: skip
    if dry_run:
        _show_plan(request, as_json=json)
        return
    try:
        with shown_progress() as progress:
            result = api.run(
                request,
                executor=executor,
                jobs=jobs,
                rerun=rerun.value,
                fail_fast=fail_fast,
                device=device,
                threads=threads,
                progress=progress,
                report=warn,
            )
    except KeyboardInterrupt:
        log_console().print("interrupted; the same command goes on from here", style="yellow")
        raise typer.Exit(INTERRUPTED) from None
    _print_bench(result, as_json=json)
    raise typer.Exit(api.exit_code(result.outcome))


def plan(
    suite: SuiteArgument = None,
    distiller: Distillers = None,
    student: Students = None,
    task: Tasks = None,
    evaluator: Evaluators = None,
    budget: Budgets = None,
    seeds: Seeds = "",
    setting: Settings = None,
    data_dir: DataDir = None,
    output: Output = None,
    plugin: Plugin = None,
    json: AsJson = False,
) -> None:
    """Show what a bench would do: cells, stages, what is done, what the rest may cost."""
    request = _request(suite, distiller, student, task, evaluator, budget, seeds, setting,
                       data_dir, output, plugin)  # fmt: skip
    _show_plan(request, as_json=json)


def distill(
    out: Annotated[Path, typer.Option("--out", help="New folder for the distilled set.")],
    distiller: Annotated[str, typer.Option("--distiller", "-d", help="The method.")],
    suite: SuiteArgument = None,
    task: Annotated[str, typer.Option("--task", "-t", help="The task.")] = "",
    student: Annotated[
        str, typer.Option("--student", "-s", help="The student, for a method that makes models.")
    ] = "",
    budget: Annotated[str, typer.Option("--budget", help="20/class, 200rows or 1%.")] = "",
    seed: Annotated[int, typer.Option("--seed", help="The distilling seed.")] = 0,
    setting: Settings = None,
    data_dir: DataDir = None,
    output: Output = None,
    plugin: Plugin = None,
    device: Device = "auto",
    threads: Threads = 0,
    json: AsJson = False,
) -> None:
    """Distil one set, or one small model, and write it with a card that says how it was made."""
    from harness import api

    with shown_progress() as progress:
        result = api.distill(
            distiller,
            suite=suite,
            task=task,
            student=student,
            budget=budget,
            seed=seed,
            settings=setting or [],
            data_dir=data_dir,
            output=output,
            export=out,
            device=device,
            threads=threads,
            plugins=plugin or [],
            progress=progress,
            report=warn,
        )
    made = _what_was_made(result)
    if json:
        print_json({"folder": str(result.folder), "key": result.key, **made})
        return
    size = next(f"{made[unit]:,} {unit}" for unit in ("parameters", "rows") if unit in made)
    data_console().print(f"{size} in {result.folder} ({made['seconds']:.1f} s)")


def _what_was_made(result: DistillResult) -> dict[str, Any]:
    if result.fitted is not None:
        seconds = result.fitted.cost.seconds
        return {"parameters": result.fitted.info.parameters, "seconds": seconds}
    distilled = result.distilled
    data = distilled.data
    return {
        "rows": len(data.rows),
        "seconds": distilled.cost.seconds,
        "report": dict(data.report),
    }


def _request(
    suite: str | None,
    distiller: list[str] | None,
    student: list[str] | None,
    task: list[str] | None,
    evaluator: list[str] | None,
    budget: list[str] | None,
    seeds: str,
    setting: list[str] | None,
    data_dir: Path | None,
    output: Path | None,
    plugin: list[str] | None,
) -> Request:
    """The options that `bench` and `plan` share, as the API takes them."""
    from harness.planning.request import Request

    return Request(
        suite=suite,
        distillers=split_list(distiller),
        students=split_list(student),
        tasks=split_list(task),
        evaluators=split_list(evaluator),
        budgets=split_list(budget),
        seeds=_parse_seeds(seeds),
        settings=setting or [],
        data_dir=data_dir,
        output=output,
        plugins=plugin or [],
    )


def _show_plan(request: Request, *, as_json: bool) -> None:
    from harness import api

    planned, store = api.plan(request, warn)
    if as_json:
        print_json(_plan_json(planned, store))
    else:
        _print_plan(planned, store)


def _parse_seeds(text: str) -> list[int]:
    """The seeds of a list such as `0,1,2`, `0-19` or both."""
    seeds: list[int] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if match is None:
            raise UsageError(f"--seeds takes whole numbers such as 0,1,2 or 0-19, got '{text}'")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise UsageError(f"--seeds {part} ends before it begins")
        seeds += range(first, last + 1)
    return seeds


def _print_bench(result: Any, *, as_json: bool) -> None:
    from harness.cli.leaderboard import print_board

    outcome = result.outcome
    log = log_console()
    log.print(
        f"{outcome.computed} computed, {outcome.reused} found, {len(outcome.failures)} failed"
        f" in {result.output}"
    )
    if len(result.results):
        print_board(result.host, result.board(), "json" if as_json else "terminal")
    for failure in result.results.failures:
        log.print(
            f"failed: {failure.distiller} {failure.budget} → {failure.student} on {failure.task}"
            f" ({failure.stage}): {failure.message}",
            style="red",
        )


def _plan_json(planned: Plan, store: Store) -> dict[str, Any]:
    missing = {cell.key for cell in planned.missing(store)}
    return {
        "suite": planned.suite.name,
        "output": str(store.root),
        "cells": [
            {
                "key": cell.key,
                "task": cell.task.data.name,
                "distiller": cell.distiller.label,
                "budget": str(cell.budget),
                "distill_seed": cell.distill_seed,
                "fit_seed": cell.fit_seed,
                "student": cell.student.label,
                "evaluator": cell.evaluator.label,
                "done": cell.key not in missing,
            }
            for cell in planned.cells
        ],
    }


def _print_plan(planned: Plan, store: Store) -> None:
    from rich.table import Table

    from harness.planning.forecast import expected_seconds
    from harness.records.results import load_records

    missing = planned.missing(store)
    open_keys = {cell.key for cell in missing}
    table = Table("task", "distiller", "budget", "student", "evaluator", "cells", "done")
    rows: dict[tuple[str, str, str, str, str], list[bool]] = {}
    for cell in planned.cells:
        row = (cell.task.data.name, cell.distiller.label, str(cell.budget), cell.student.label,
               cell.evaluator.label)  # fmt: skip
        rows.setdefault(row, []).append(cell.key not in open_keys)
    for row, done in rows.items():
        table.add_row(*row, str(len(done)), str(sum(done)))
    console = data_console()
    console.print(table)
    counts = planned.stage_counts(missing)
    console.print(
        f"{len(planned.cells)} cells, {len(missing)} to do: {counts['distill']} distilled sets,"
        f" {counts['fit']} fits, {counts['evaluate']} evaluations"
    )
    forecast = expected_seconds(missing, load_records(store.root, missing_ok=True).records)
    if missing and forecast is not None:
        console.print(f"about {forecast / 60:.1f} minutes, judged by earlier records")
