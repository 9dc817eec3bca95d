"""The Python interface: bench, distill and load results, as the command line does them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from harness.context import Progress, SilentProgress
from harness.data.sources import DataLocator
from harness.errors import HarnessError, MissingDependencyError, UsageError, did_you_mean
from harness.machine.device import resolve_device, set_threads
from harness.plan import Plan
from harness.planning.building import build_plan
from harness.planning.request import Request
from harness.plugins import PluginHost
from harness.records.results import Results, load_records
from harness.registry.components import resolve
from harness.running.backlog import Outcome, Rerun, RunOptions
from harness.running.job import Executor, Job
from harness.running.runner import Runner
from harness.storage.artifacts import Distilled, Fitted
from harness.storage.store import Store
from harness.suite import Suite

if TYPE_CHECKING:
    from harness.leaderboard.board import Board

Report = Callable[[str], None]
P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class BenchResult:
    """What a bench did, and the results of its plan (not of everything in the folder).

    host: the plugins that took part.
    """

    plan: Plan
    outcome: Outcome
    results: Results
    output: Path
    host: PluginHost = field(repr=False)

    def board(self) -> Board:
        """The leaderboard; a row that lacks runs of the plan is shown as incomplete."""
        from harness.leaderboard.board import build_board

        pairs = {(cell.distill_seed, cell.fit_seed) for cell in self.plan.cells}
        return build_board(self.results, expected=sorted(pairs))


@dataclass(frozen=True)
class DistillResult:
    """What a distiller made and the folder it was exported to.

    distilled: the set; for a distiller that makes models, what it trained on.
    fitted: the trained student of such a distiller, None of any other.
    """

    distilled: Distilled
    fitted: Fitted | None
    key: str
    folder: Path


def _suggests_keywords(function: Callable[P, T]) -> Callable[P, T]:
    """The function with a suggestion where a keyword is misspelt."""
    known = inspect.signature(function).parameters

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        for name in kwargs:
            if name not in known:
                raise TypeError(
                    f"{function.__name__}() got an unexpected keyword argument '{name}'."
                    f" {did_you_mean(name, known)}".rstrip()
                )
        return function(*args, **kwargs)

    return call


def _ignore(text: str) -> None:
    del text


@_suggests_keywords
def bench(
    suite: str | Path | Suite | None = None,
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
    executor: str = "in-process",
    jobs: int = 1,
    rerun: Rerun = "missing",
    fail_fast: bool = False,
    device: str = "auto",
    threads: int = 0,
    progress: Progress | None = None,
    report: Report = _ignore,
) -> BenchResult:
    """Runs a suite, or the part of it that is named, and returns its results.

    The rows `random` and `full` are always part of it. Running the same call again computes
    only what is missing.

    Args:
        suite: a registered name, the path of a TOML file, or a `Suite`; when not given, the one
            for the modality of what is named.
        distillers, students, tasks, evaluators, budgets: instead of the suite's.
        seeds: instead of its distilling seeds.
        settings: changes such as `"distiller.dilm.match_steps=100"`.
        data_dir: a folder with one folder a task; the variable HARNESS_DATA when not given.
        output: the results folder; `runs/SUITE` when not given.
        plugins: further plugin modules, or paths of one-file plugins.
        executor, jobs: how stages are carried out, and by how many workers.
        rerun: which cells to compute; see `harness.running.backlog.RunOptions`.
        device, threads: `auto` takes the accelerator if there is one; 0 is torch's own choice.
        report: is told of everything that goes wrong without stopping the work.

    Raises:
        UsageError: the request names something unknown or impossible.
        MissingDependencyError: data or a package is not here.
        TypeError: a keyword that there is not.
    """
    request = Request(
        suite, distillers, students, tasks, evaluators, budgets, seeds, settings, data_dir,
        output, plugins,
    )  # fmt: skip
    return run(
        request, executor=executor, jobs=jobs, rerun=rerun, fail_fast=fail_fast, device=device,
        threads=threads, progress=progress, report=report,
    )  # fmt: skip


def run(
    request: Request,
    *,
    executor: str = "in-process",
    jobs: int = 1,
    rerun: Rerun = "missing",
    fail_fast: bool = False,
    device: str = "auto",
    threads: int = 0,
    progress: Progress | None = None,
    report: Report = _ignore,
) -> BenchResult:
    """`bench`, whose arguments and errors see, of a request."""
    if jobs < 1:
        raise UsageError(f"--jobs must be at least 1, got {jobs}")
    host = PluginHost.discover(request.plugins)
    planned, store = _planned(request, host, report)
    job = Job(
        suite=planned.suite,
        output=store.root,
        data_dir=None if request.data_dir is None else Path(request.data_dir),
        plugins=tuple(request.plugins),
        options=RunOptions(rerun=rerun, fail_fast=fail_fast, device=resolve_device(device)),
        jobs=jobs,
        threads=threads,
    )
    component = host.registry.find("executor", executor)
    runs: Executor = resolve(component, "", {}).instance
    outcome = runs.run(planned, job, progress or SilentProgress(), report)
    results = load_records(store.root, missing_ok=True)
    own = results.only([cell.key for cell in planned.cells])
    return BenchResult(planned, outcome, own, store.root, host)


def plan(request: Request, report: Report = _ignore) -> tuple[Plan, Store]:
    """The plan that `run` would carry out, and the store it would use; computes nothing.

    Raises:
        UsageError: the request names something unknown or impossible.
        MissingDependencyError: data or a package is not here.
    """
    return _planned(request, PluginHost.discover(request.plugins), report)


@_suggests_keywords
def distill(
    distiller: str,
    *,
    export: str | Path,
    suite: str | Path | Suite | None = None,
    task: str = "",
    student: str = "",
    budget: str = "",
    seed: int = 0,
    settings: Sequence[str] = (),
    data_dir: str | Path | None = None,
    output: str | Path | None = None,
    plugins: Sequence[str] = (),
    device: str = "auto",
    threads: int = 0,
    progress: Progress | None = None,
    report: Report = _ignore,
) -> DistillResult:
    """Distils one set, or one model, and writes it with a card that says how it was made.

    A set is written as JSONL and Parquet; a model, where the distiller makes models, by the
    student `student` or the suite's first. It is made from the whole train split, where `bench`
    lets each seed draw a part; a model is the one that `bench` would use with the same settings
    and seed, and is shared with it through the results folder. The other arguments are those of
    `bench`.

    Raises:
        UsageError: the request names something unknown, or a student for a distiller that makes
            data, or `export` exists and is not empty.
        HarnessError: the distiller failed.
        TypeError: a keyword that there is not.
    """
    from harness.publishing.sets import export_distilled, export_model

    folder = Path(export)
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"'{folder}' is not empty", hint="Name a new folder with --out.")
    request = Request(
        suite=suite, distillers=[distiller], students=[student] if student else (),
        tasks=[task] if task else (), budgets=[budget] if budget else (), seeds=[seed],
        settings=settings, data_dir=data_dir, output=output, plugins=plugins,
    )  # fmt: skip
    host = PluginHost.discover(plugins)
    planned, store = _planned(request, host, report, only_distil=True)
    set_threads(threads)
    runner = Runner(planned, store, RunOptions(device=resolve_device(device)), progress, report)
    cell = planned.cells[0]
    if cell.makes_model:
        fitted = runner.train(cell)
        export_model(folder, cell, fitted)
        return DistillResult(runner.distil(cell), fitted, cell.fit_key, folder)
    if student:
        raise UsageError(
            f"distiller '{cell.distiller.label}' makes data for any student, so it needs none",
            hint="Leave --student out.",
        )
    distilled = runner.distil(cell)
    export_distilled(folder, cell, distilled)
    return DistillResult(distilled, None, cell.distill_key, folder)


def load_results(folder: str | Path, *more: str | Path) -> Results:
    """Reads every record of one results folder, or of several as if they were one.

    A run that lies in several folders counts once; see `harness.records.merging.load_merged`.

    Raises:
        UsageError: a folder does not exist or holds no records, or two folders have different
            scores for one run.
    """
    from harness.records.merging import load_merged

    return load_merged([Path(folder), *map(Path, more)])


def exit_code(outcome: Outcome) -> int:
    """0 when every cell has a record, 3 when all failures are missing pieces, else 1."""
    if not outcome.failures:
        return 0
    if all(f.error == MissingDependencyError.__name__ for f in outcome.failures):
        return MissingDependencyError.exit_code
    return HarnessError.exit_code


def _planned(
    request: Request, host: PluginHost, report: Report, *, only_distil: bool = False
) -> tuple[Plan, Store]:
    suite = request.chosen_suite(host)
    store = Store(request.output_of(suite))
    if only_distil:
        suite = replace(suite, references=(), fit_seeds=suite.fit_seeds[:1], pool=1.0)
    folder = None if request.data_dir is None else Path(request.data_dir)
    locator = DataLocator.from_environment(folder)
    return build_plan(suite, host, locator, report, only_distil=only_distil), store
