"""Hook specifications: what a plugin can register and be told of, one documented hook each.

A plugin is a module with functions of these names, marked `@harness.hookimpl`, that an entry
point of the group `harness` names. `target` is a class, or `"module:attribute"` so that listing
components imports nothing heavy. A plugin module may set `HARNESS_API = 1`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pluggy

if TYPE_CHECKING:
    import typer

    from harness.leaderboard.board import Board
    from harness.plan import Plan, StageEvent
    from harness.records.record import Record
    from harness.registry.components import Produces

PROJECT = "harness"
HARNESS_API = 1

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class Register(Protocol):
    """Offers a component under `name`; `version` defaults to the distribution's own."""

    def __call__(
        self,
        name: str,
        target: str | type,
        *,
        summary: str,
        version: str = "",
        argument: str = "",
        variants: tuple[str, ...] = (),
    ) -> None: ...


class RegisterDistiller(Protocol):
    """Offers a distiller; see `harness.registry.components.DistillerComponent` for the flags."""

    def __call__(
        self,
        name: str,
        target: str | type,
        *,
        summary: str,
        produces: Produces,
        version: str = "",
        argument: str = "",
        variants: tuple[str, ...] = (),
        deterministic: bool = False,
        fixed_budget: str = "",
        reference: bool = False,
    ) -> None: ...


class RegisterSuite(Protocol):
    """Offers a suite: the path of a TOML file inside the plugin's package."""

    def __call__(self, path: str) -> None: ...


@hookspec
def harness_register_tasks(register: Register) -> None:
    """Offers tasks: classes with `load(locator) -> TaskData`."""


@hookspec
def harness_register_distillers(register: RegisterDistiller) -> None:
    """Offers distillers: classes with `distill(task, budget, context) -> DistilledData`.

    Those that make models have `fit(task, student, recipe, context) -> Trained` instead; those
    whose sets hold arrays of their own have `train(task, student, data, recipe, context)` besides.
    """


@hookspec
def harness_register_students(register: Register) -> None:
    """Offers students: classes with `fingerprint()`, `fit(...)` and `load(...)`."""


@hookspec
def harness_register_evaluators(register: Register) -> None:
    """Offers evaluators: classes with `needs` and `evaluate(...) -> Score`."""


@hookspec
def harness_register_suites(register: RegisterSuite) -> None:
    """Offers suites: TOML files that own a protocol."""


@hookspec
def harness_register_executors(register: Register) -> None:
    """Offers executors: classes with `run(plan, job, progress, report)` that carry out a plan."""


@hookspec
def harness_register_leaderboard_formats(register: Register) -> None:
    """Offers leaderboard formats: classes with `render(board) -> str`."""


@hookspec
def harness_register_commands(app: typer.Typer) -> None:
    """Adds commands to the command line."""


@hookspec
def harness_plan(plan: Plan) -> None:
    """Looks at a plan before it costs anything; raise `HarnessError` to veto it."""


@hookspec
def harness_stage_started(event: StageEvent) -> None:
    """Is told that a stage starts. An exception here never stops the run."""


@hookspec
def harness_stage_finished(event: StageEvent) -> None:
    """Is told that a stage ended, with its cost or its error."""


@hookspec
def harness_run_finished(record: Record) -> None:
    """Is told of each new record."""


@hookspec
def harness_leaderboard_columns(board: Board) -> dict[str, dict[str, str]] | None:
    """Adds columns to a board: column title -> row label -> cell text."""
