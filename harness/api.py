"""The Python interface: bench, distill and load results, as the command line does them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from harness.context import Progress
from harness.errors import HarnessError, MissingDependencyError, UsageError, unknown_name
from harness.machine.device import resolve_device, set_threads
from harness.machine.progress import SilentProgress
from harness.plan import Plan, build_plan
from harness.planning.compatibility import modalities_of
from harness.plugins import PluginHost
from harness.records.results import Results, load_records
from harness.registry.components import Kind, resolve
from harness.registry.specs import Spec
from harness.running.recording import Fitted
from harness.running.runner import Outcome, Rerun, Runner, RunOptions
from harness.storage.store import Distilled, Store
from harness.suite import Suite, load_suite, with_settings

if TYPE_CHECKING:
    from harness.leaderboard.board import Board
    from harness.running.job import Executor

DEFAULT_SUITE = "quickstart"
DEFAULT_OUTPUT = Path("runs")
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
    """What a distiller made and the folder it was exported to.

    distilled: the set; for a distiller that makes models, what it trained on.
    fitted: the trained student of such a distiller, None of any other.
    """

    distilled: Distilled
    fitted: Fitted | None
    key: str
    folder: Path


class Parts(TypedDict, total=False):
    """The parts of a suite that a request replaces.

    distillers, students, tasks, evaluators, budgets: instead of the suite's;
    seeds: instead of its distilling seeds;
    settings: changes such as `"distiller.dilm.match_steps=100"`.
    """

    distillers: Sequence[str]
    students: Sequence[str]
    tasks: Sequence[str]
    evaluators: Sequence[str]
    budgets: Sequence[str]
    seeds: Sequence[int]
    settings: Sequence[str]


class Place(TypedDict, total=False):
    """Where data and results lie, and who is told.

    data_dir: a folder with one folder a task; the variable HARNESS_DATA when not given;
    output: the results folder; `runs/SUITE` when not given;
    plugins: further plugin modules, or paths of one-file plugins;
    report: is told of everything that goes wrong without stopping the work.
    """

    data_dir: str | Path | None
    output: str | Path | None
    plugins: Sequence[str]
    report: Report


class Request(Parts, Place, total=False):
    """What is asked of a suite, and where: see `Parts` and `Place`."""


def bench(
    suite: str | Path | Suite | None = None,
    *,
    executor: str = "in-process",
    jobs: int = 1,
    rerun: Rerun = "missing",
    fail_fast: bool = False,
    device: str = "auto",
    threads: int = 0,
    progress: Progress | None = None,
    **request: Unpack[Request],
) -> BenchResult:
    """Runs a suite, or the part of it that is named, and returns its results.

    The rows `random` and `full` are always part of it. Running the same call again computes
    only what is missing.

    Args:
        suite: a registered name, the path of a TOML file, or a `Suite`; when not given, the one
            for the modality of what is named, see `default_suite`.
        executor, jobs: how stages are carried out, and by how many workers.
        rerun: which cells to compute; see `harness.running.runner.RunOptions`.
        device, threads: `auto` takes the accelerator if there is one; 0 is torch's own choice.
        request: see `Parts` and `Place`.

    Raises:
        UsageError: the request names something unknown or impossible.
        MissingDependencyError: data or a package is not here.
    """
    from harness.running.job import Job

    if jobs < 1:
        raise UsageError(f"--jobs must be at least 1, got {jobs}")
    planned, store = plan(suite, **request)
    job = Job(
        suite=planned.suite,
        output=store.root,
        data_dir=_path(request.get("data_dir")),
        plugins=tuple(request.get("plugins", ())),
        options=RunOptions(rerun=rerun, fail_fast=fail_fast, device=resolve_device(device)),
        jobs=jobs,
        threads=threads,
    )
    component = planned.host.registry.find("executor", executor)
    runs: Executor = resolve(component, "", {}).instance
    outcome = runs.run(planned, job, progress or SilentProgress(), request.get("report", _ignore))
    return BenchResult(planned, outcome, results_of(planned, store.root), store.root)


def plan(suite: str | Path | Suite | None = None, **request: Unpack[Request]) -> tuple[Plan, Store]:
    """The plan that `bench` would carry out, and the store it would use; computes nothing.

    Raises:
        UsageError: the request names something unknown or impossible.
        MissingDependencyError: data or a package is not here.
    """
    host = PluginHost.discover(request.get("plugins", ()))
    parts: Parts = {name: request[name] for name in Parts.__annotations__ if name in request}  # type: ignore[assignment, literal-required]
    chosen = choose_suite(host, suite, **parts)
    return _plan_of(chosen, host, request)


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
    device: str = "auto",
    threads: int = 0,
    progress: Progress | None = None,
    **place: Unpack[Place],
) -> DistillResult:
    """Distils one set, or one model, and writes it with a card that says how it was made.

    A set is written as JSONL and Parquet; a model, where the distiller makes models, by the
    student `student` or the suite's first. Either is the one that `bench` would use with the same
    settings and seed, and is shared with it through the results folder.

    Raises:
        UsageError: the request names something unknown, or a student for a distiller that makes
            data, or `export` exists and is not empty.
        HarnessError: the distiller failed.
    """
    from harness.publishing.sets import export_distilled, export_model

    folder = Path(export)
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"'{folder}' is not empty", hint="Name a new folder with --out.")
    host = PluginHost.discover(place.get("plugins", ()))
    chosen = choose_suite(
        host, suite, distillers=[distiller], tasks=[task] if task else (),
        students=[student] if student else (), budgets=[budget] if budget else (), seeds=[seed],
        settings=settings,
    )  # fmt: skip
    alone = replace(chosen, references=(), fit_seeds=chosen.fit_seeds[:1])
    planned, store = _plan_of(alone, host, place, only_distil=True)
    set_threads(threads)
    options = RunOptions(device=resolve_device(device))
    report = place.get("report", _ignore)
    cell = planned.cells[0]
    runner = Runner(planned, store, options, progress, report)
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


def choose_suite(
    host: PluginHost, suite: str | Path | Suite | None, **parts: Unpack[Parts]
) -> Suite:
    """The suite with the parts that a request replaces.

    Raises:
        UsageError: the suite is unknown or malformed, or a setting has no such key.
    """
    if suite is None:
        chosen = default_suite(host, **parts)
    else:
        chosen = suite if isinstance(suite, Suite) else find_suite(host, suite)
    fields = {"seeds": "distill_seeds"}
    changes: dict[str, Any] = {
        fields.get(name, name): tuple(values)  # type: ignore[arg-type]
        for name, values in parts.items()
        if values and name != "settings"
    }
    return with_settings(replace(chosen, **changes), parts.get("settings", ()))


def find_suite(host: PluginHost, name: str | Path) -> Suite:
    """A suite by registered name, or by the path of a TOML file."""
    text = str(name)
    if text in host.registry.suites:
        return load_suite(host.registry.suites[text])
    if text.endswith(".toml"):
        return load_suite(Path(name))
    raise unknown_name("suite", text, host.registry.suites)


def default_suite(host: PluginHost, **parts: Unpack[Parts]) -> Suite:
    """The suite that is the default for the modality that all named parts are for.

    Students, tasks, evaluators and distillers may declare `modalities`. Where none does, or no
    suite is the default for one that all have in common, it is `quickstart`.

    Raises:
        UsageError: a name that is unknown.
    """
    kinds: tuple[tuple[Kind, Sequence[str]], ...] = (
        ("student", parts.get("students", ())),
        ("task", parts.get("tasks", ())),
        ("evaluator", parts.get("evaluators", ())),
        ("distiller", parts.get("distillers", ())),
    )
    classes = [
        host.registry.find(kind, Spec.parse(text).name).load() for kind, names in kinds
        for text in names
    ]  # fmt: skip
    declared = [set(found) for found in (modalities_of(c) for c in classes) if found is not None]
    suites = (load_suite(path) for path in host.registry.suites.values()) if declared else ()
    for suite in suites:
        if all(suite.default_for in modalities for modalities in declared):
            return suite
    return find_suite(host, DEFAULT_SUITE)


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


def _plan_of(
    suite: Suite, host: PluginHost, place: Place, *, only_distil: bool = False
) -> tuple[Plan, Store]:
    from harness.data.sources import DataLocator

    locator = DataLocator.from_environment(_path(place.get("data_dir")))
    output = _path(place.get("output")) or DEFAULT_OUTPUT / suite.name
    report = place.get("report", _ignore)
    return build_plan(suite, host, locator, report, only_distil=only_distil), Store(output)


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given)


def _ignore(text: str) -> None:
    del text
