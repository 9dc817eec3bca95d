"""The Python interface: bench, distill and load results, as the command line does them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.components import resolve
from harness.context import Progress
from harness.device import resolve_device
from harness.errors import HarnessError, MissingDependencyError, UsageError, unknown_name
from harness.plan import Plan, build_plan
from harness.plugins import PluginHost
from harness.progress import SilentProgress
from harness.results import Results, load_records
from harness.run import Outcome, Rerun, Runner, RunOptions
from harness.store import Distilled, Store
from harness.suite import Suite, load_suite, with_settings

if TYPE_CHECKING:
    from harness.executors.job import Job
    from harness.leaderboard.board import Board
    from harness.sources import DataLocator

DEFAULT_SUITE = "quickstart"
DEFAULT_OUTPUT = Path("results")
Report = Callable[[str], None]


@dataclass(frozen=True)
class BenchResult:
    """What a bench did, and the results of its plan (not of everything in the folder)."""

    plan: Plan
    outcome: Outcome
    results: Results
    output: Path

    def board(self) -> Board:
        """The leaderboard; a row that lacks runs of the plan is shown as incomplete."""
        pairs = {(cell.distill_seed, cell.fit_seed) for cell in self.plan.cells}
        return self.results.board(expected=sorted(pairs))


@dataclass(frozen=True)
class DistillResult:
    """A distilled set and the folder it was exported to."""

    distilled: Distilled
    key: str
    folder: Path


def bench(
    suite: str | Path | Suite = DEFAULT_SUITE,
    *,
    distillers: Sequence[str] = (),
    students: Sequence[str] = (),
    tasks: Sequence[str] = (),
    evaluators: Sequence[str] = (),
    budgets: Sequence[str] = (),
    seeds: Sequence[int] = (),
    settings: Sequence[str] = (),
    data_dir: str | Path | None = None,
    output: str | Path | None = None,
    executor: str = "in-process",
    jobs: int = 1,
    rerun: Rerun = "missing",
    fail_fast: bool = False,
    device: str = "auto",
    threads: int = 0,
    plugins: Sequence[str] = (),
    progress: Progress | None = None,
    report: Report = lambda text: None,
) -> BenchResult:
    """Runs a suite, or the part of it that is named, and returns its results.

    The rows `random` and `full` are always part of it. Running the same call again computes
    only what is missing.

    Args:
        suite: a registered name, the path of a TOML file, or a `Suite`.
        distillers: replace the suite's, as do students, tasks, evaluators and budgets.
        seeds: replace the suite's distilling seeds.
        settings: changes such as `"distiller.dilm.match_steps=100"`.
        output: the results folder; `results/SUITE` when not given.

    Raises:
        UsageError: the request names something unknown or impossible.
        MissingDependencyError: data or a package is not here.
    """
    planned, store = plan(
        suite, distillers=distillers, students=students, tasks=tasks, evaluators=evaluators,
        budgets=budgets, seeds=seeds, settings=settings, data_dir=data_dir, output=output,
        plugins=plugins, report=report,
    )  # fmt: skip
    job = make_job(
        planned.suite, output=store.root, data_dir=data_dir, plugins=plugins, rerun=rerun,
        fail_fast=fail_fast, device=device, jobs=jobs, threads=threads,
    )  # fmt: skip
    outcome = execute(planned, job, executor, progress or SilentProgress(), report)
    return BenchResult(planned, outcome, results_of(planned, store.root), store.root)


def plan(
    suite: str | Path | Suite = DEFAULT_SUITE,
    *,
    distillers: Sequence[str] = (),
    students: Sequence[str] = (),
    tasks: Sequence[str] = (),
    evaluators: Sequence[str] = (),
    budgets: Sequence[str] = (),
    seeds: Sequence[int] = (),
    settings: Sequence[str] = (),
    data_dir: str | Path | None = None,
    output: str | Path | None = None,
    plugins: Sequence[str] = (),
    report: Report = lambda text: None,
) -> tuple[Plan, Store]:
    """The plan that `bench` would carry out, and the store it would use; computes nothing.

    Raises:
        UsageError: the request names something unknown or impossible.
        MissingDependencyError: data or a package is not here.
    """
    host = PluginHost.discover(plugins)
    chosen = choose_suite(
        host, suite, distillers=distillers, students=students, tasks=tasks,
        evaluators=evaluators, budgets=budgets, seeds=seeds, settings=settings,
    )  # fmt: skip
    return build_plan(chosen, host, _locator(data_dir), report), Store(_output(output, chosen))


def distill(
    distiller: str,
    *,
    suite: str | Path | Suite = DEFAULT_SUITE,
    task: str = "",
    budget: str = "",
    seed: int = 0,
    settings: Sequence[str] = (),
    data_dir: str | Path | None = None,
    output: str | Path | None = None,
    export: str | Path,
    device: str = "auto",
    threads: int = 0,
    plugins: Sequence[str] = (),
    progress: Progress | None = None,
    report: Report = lambda text: None,
) -> DistillResult:
    """Distils one set and writes it as JSONL and Parquet with a card that says how.

    The set is the one that `bench` would use with the same settings and seed, and is shared
    with it through the results folder.

    Raises:
        UsageError: the request names something unknown, or `export` exists and is not empty.
        HarnessError: the distiller failed.
    """
    from harness.device import set_threads
    from harness.export import export_distilled

    host = PluginHost.discover(plugins)
    chosen = choose_suite(
        host, suite, distillers=[distiller], tasks=[task] if task else (),
        budgets=[budget] if budget else (), seeds=[seed], settings=settings,
    )  # fmt: skip
    chosen = replace(chosen, references=(), fit_seeds=chosen.fit_seeds[:1])
    planned = build_plan(chosen, host, _locator(data_dir), report)
    folder = Path(export)
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"'{folder}' is not empty", hint="Name a new folder with --out.")
    set_threads(threads)
    store = Store(_output(output, chosen))
    options = RunOptions(device=resolve_device(device))
    cell = planned.cells[0]
    distilled = Runner(planned, store, options, progress, report).distil(cell)
    export_distilled(folder, cell, distilled)
    return DistillResult(distilled, cell.distill_key, folder)


def load_results(folder: str | Path) -> Results:
    """Reads every record of a results folder.

    Raises:
        UsageError: the folder does not exist or holds no records.
    """
    return load_records(Path(folder))


def choose_suite(
    host: PluginHost,
    suite: str | Path | Suite,
    *,
    distillers: Sequence[str] = (),
    students: Sequence[str] = (),
    tasks: Sequence[str] = (),
    evaluators: Sequence[str] = (),
    budgets: Sequence[str] = (),
    seeds: Sequence[int] = (),
    settings: Sequence[str] = (),
) -> Suite:
    """The suite with the parts that a request replaces.

    Raises:
        UsageError: the suite is unknown or malformed, or a setting has no such key.
    """
    chosen = suite if isinstance(suite, Suite) else find_suite(host, suite)
    given: dict[str, Sequence[Any]] = {
        "distillers": distillers,
        "students": students,
        "tasks": tasks,
        "evaluators": evaluators,
        "budgets": budgets,
        "distill_seeds": seeds,
    }
    changes: dict[str, Any] = {name: tuple(values) for name, values in given.items() if values}
    return with_settings(replace(chosen, **changes), settings)


def find_suite(host: PluginHost, name: str | Path) -> Suite:
    """A suite by registered name, or by the path of a TOML file."""
    text = str(name)
    if text in host.registry.suites:
        return load_suite(host.registry.suites[text])
    if text.endswith(".toml"):
        return load_suite(Path(name))
    raise unknown_name("suite", text, host.registry.suites)


def make_job(
    suite: Suite,
    *,
    output: Path,
    data_dir: str | Path | None,
    plugins: Sequence[str],
    rerun: Rerun,
    fail_fast: bool,
    device: str,
    jobs: int,
    threads: int,
) -> Job:
    """The job of a bench request, with its folder and device resolved."""
    from harness.executors.job import Job

    if jobs < 1:
        raise UsageError(f"--jobs must be at least 1, got {jobs}")
    return Job(
        suite=suite,
        output=output,
        data_dir=Path(data_dir) if data_dir is not None else None,
        plugins=tuple(plugins),
        options=RunOptions(rerun=rerun, fail_fast=fail_fast, device=resolve_device(device)),
        jobs=jobs,
        threads=threads,
    )


def execute(planned: Plan, job: Job, executor: str, progress: Progress, report: Report) -> Outcome:
    """Runs what the plan lacks with the named executor."""
    component = planned.host.registry.find("executor", executor)
    return resolve(component, "", {}).instance.run(planned, job, progress, report)


def results_of(planned: Plan, output: Path) -> Results:
    """The results of one plan's cells."""
    return load_records(output, missing_ok=True).only([cell.key for cell in planned.cells])


def exit_code(outcome: Outcome) -> int:
    """0 when every cell has a record, 3 when all failures are missing pieces, else 1."""
    if not outcome.failures:
        return 0
    if all(f.error == MissingDependencyError.__name__ for f in outcome.failures):
        return MissingDependencyError.exit_code
    return HarnessError.exit_code


def _locator(data_dir: str | Path | None) -> DataLocator:
    from harness.sources import DataLocator

    return DataLocator.from_environment(Path(data_dir) if data_dir is not None else None)


def _output(output: str | Path | None, suite: Suite) -> Path:
    return Path(output) if output is not None else DEFAULT_OUTPUT / suite.name
