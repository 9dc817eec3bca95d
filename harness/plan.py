"""From a suite to cells with keys: what there is to do, before any of it is done."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal

from harness.budget import Budget
from harness.data.sources import DataLocator
from harness.errors import HarnessError, UsageError, did_you_mean
from harness.fingerprint import digest, rows_digest, stage_key, task_fingerprint
from harness.planning.compatibility import check_compatible
from harness.plugins import PluginHost
from harness.registry.components import (
    Choice,
    DistillerComponent,
    Kind,
    option_names,
    resolve,
)
from harness.registry.contracts import check_task
from harness.suite import Suite
from harness.types import Recipe, TaskData

if TYPE_CHECKING:
    from harness.records.record import Record
    from harness.storage.store import Store

StageKind = Literal["distill", "fit", "evaluate"]
PROXY_OPTION = "proxy"
TEACHER_OPTION = "teacher"


@dataclass(frozen=True)
class LoadedTask:
    """A task with its rows read and checked."""

    choice: Choice
    data: TaskData

    @cached_property
    def fingerprint(self) -> str:
        return task_fingerprint(self.data)

    @cached_property
    def test_fingerprint(self) -> str:
        return rows_digest(self.data.test)


@dataclass(frozen=True)
class Cell:
    """One run: a distilled set, a student fitted on it, and one evaluation.

    key: of the evaluate stage; fit_key and distill_key: of the stages it stands on.
    protocol: hash of what all rows of one board must share.
    """

    task: LoadedTask
    distiller: Choice
    budget: Budget
    distill_seed: int
    fit_seed: int
    student: Choice
    evaluator: Choice
    tuner: Choice
    recipe: Recipe
    learning_rates: tuple[float, ...]
    distill_key: str
    fit_key: str
    key: str
    protocol: str

    def __str__(self) -> str:
        return (
            f"{self.distiller.label} {self.budget} → {self.student.label} on"
            f" {self.task.data.name}, seeds {self.distill_seed}/{self.fit_seed}"
        )

    @property
    def makes_model(self) -> bool:
        """Whether its distiller trains the student itself."""
        return _distiller_component(self.distiller).makes_model

    def stage_keys(self) -> dict[StageKind, str]:
        return {"distill": self.distill_key, "fit": self.fit_key, "evaluate": self.key}


@dataclass(frozen=True)
class Plan:
    """Every cell of a suite, in the order they will be run: seeds first, so that an
    interrupted run leaves methods with equally many seeds."""

    suite: Suite
    host: PluginHost
    cells: tuple[Cell, ...]

    def missing(self, store: Store) -> list[Cell]:
        """The cells that have no record yet."""
        return [cell for cell in self.cells if not store.has_record(cell.key)]

    def stage_counts(self, cells: Sequence[Cell]) -> dict[StageKind, int]:
        """Distinct stages of each kind among some cells."""
        kinds: tuple[StageKind, ...] = ("distill", "fit", "evaluate")
        return {kind: len({cell.stage_keys()[kind] for cell in cells}) for kind in kinds}

    def student(self, spec: str) -> Any:
        """A student instance by name, as `StageContext.student` offers it."""
        return student_choice(self.suite, self.host, spec).instance


def build_plan(
    suite: Suite,
    host: PluginHost,
    locator: DataLocator,
    report: Callable[[str], None] = lambda text: None,
    *,
    only_distil: bool = False,
) -> Plan:
    """Resolves names, loads and checks tasks, and keys every cell.

    Args:
        only_distil: nothing will be scored, so rows need no student or evaluator that fits.

    Raises:
        UsageError: an unknown name or option, a budget a task cannot meet, or parts that do not
            fit one another.
        MissingDependencyError: data, weights or a package that are not here.
        ContractError: a task that breaks its contract.
    """
    _check_settings(suite, host)
    tasks = [_load_task(suite, host, locator, text) for text in suite.tasks]
    distillers = [_distiller_choice(suite, host, text) for text in suite.chosen_distillers()]
    students = [student_choice(suite, host, text) for text in suite.students]
    evaluators = [_choice(suite, host, "evaluator", text) for text in suite.evaluators]
    cells = tuple(_cells(suite, host, tasks, distillers, students, evaluators))
    if not only_distil or any(cell.makes_model for cell in cells):
        check_compatible(cells)
    plan = Plan(suite, host, cells)
    host.gather("harness_plan", report, let_through=(HarnessError,), plan=plan)
    return plan


def student_choice(suite: Suite, host: PluginHost, text: str) -> Choice:
    """A student with the suite's variant and options."""
    return _choice(suite, host, "student", text)


def expected_seconds(cells: Sequence[Cell], known: Sequence[Record]) -> float | None:
    """A forecast from earlier records of the same methods and students; None without any."""
    total = 0.0
    for kind, name in (("distill", "distiller"), ("fit", "student"), ("evaluate", "student")):
        seen: dict[str, list[float]] = {}
        for record in known:
            label = (
                record.distiller.label if name == "distiller" else record.student.component.label
            )
            seen.setdefault(label, []).append(getattr(record.costs, kind).seconds)
        stages = {cell.stage_keys()[kind]: getattr(cell, name).label for cell in cells}  # type: ignore[index]
        for label in stages.values():
            if label not in seen:
                return None
            total += fmean(seen[label])
    return total


def _cells(
    suite: Suite,
    host: PluginHost,
    tasks: Sequence[LoadedTask],
    distillers: Sequence[Choice],
    students: Sequence[Choice],
    evaluators: Sequence[Choice],
) -> Iterator[Cell]:
    runs = [(d, f) for d in suite.distill_seeds for f in suite.fit_seeds]
    for task in tasks:
        budgeted = [(d, b) for d in distillers for b in _budgets(suite, d, task)]
        for distill_seed, fit_seed in runs:
            for distiller, budget in budgeted:
                for student in students:
                    for evaluator in evaluators:
                        yield _cell(
                            suite, host, task, distiller, budget, distill_seed, fit_seed,
                            student, evaluator, evaluators[0],
                        )  # fmt: skip


def _budgets(suite: Suite, distiller: Choice, task: LoadedTask) -> list[Budget]:
    component = _distiller_component(distiller)
    fixed = component.fixed_budget or ("100%" if component.makes_model else "")
    texts = [fixed] if fixed else suite.budgets
    budgets = [Budget.parse(text) for text in texts]
    for budget in budgets:
        try:
            task.data.budget_rows(budget)
        except UsageError as error:
            message = f"task '{task.data.name}': {error.message}"
            raise UsageError(message, hint=error.hint) from error
    return budgets


def _cell(
    suite: Suite,
    host: PluginHost,
    task: LoadedTask,
    distiller: Choice,
    budget: Budget,
    distill_seed: int,
    fit_seed: int,
    student: Choice,
    evaluator: Choice,
    tuner: Choice,
) -> Cell:
    component = _distiller_component(distiller)
    recipe, learning_rates = _recipe_at(suite, budget)
    distill_key = stage_key(
        "distill",
        {
            "task": task.fingerprint,
            "distiller": _identity(suite, host, distiller),
            **_looks_through(suite, host, distiller),
            "budget": str(budget),
            "seed": None if component.deterministic or component.makes_model else distill_seed,
        },
    )
    fit_key = stage_key(
        "fit",
        {
            "distill": distill_key,
            "student": _identity(suite, host, student),
            "recipe": dataclasses.asdict(recipe),
            "learning_rates": list(learning_rates),
            "tuner": tuner.identity,
            "seeds": [distill_seed, fit_seed],
        },
    )
    key = stage_key(
        "evaluate",
        {"fit": fit_key, "evaluator": evaluator.identity, "test": task.test_fingerprint},
    )
    return Cell(
        task=task, distiller=distiller, budget=budget, distill_seed=distill_seed,
        fit_seed=fit_seed, student=student, evaluator=evaluator, tuner=tuner, recipe=recipe,
        learning_rates=learning_rates, distill_key=distill_key, fit_key=fit_key, key=key,
        protocol=_protocol(suite, host, task, student, evaluator, tuner),
    )  # fmt: skip


def _distiller_component(choice: Choice) -> DistillerComponent:
    assert isinstance(choice.component, DistillerComponent)
    return choice.component


def _recipe_at(suite: Suite, budget: Budget) -> tuple[Recipe, tuple[float, ...]]:
    """The recipe and the grid of rates: without rows there is nothing to do or to tune."""
    if budget.is_nothing:
        return replace(suite.recipe, steps=0), suite.learning_rates[:1]
    steps = suite.full_steps if budget.is_whole and suite.full_steps else suite.recipe.steps
    return replace(suite.recipe, steps=steps), suite.learning_rates


def _protocol(
    suite: Suite,
    host: PluginHost,
    task: LoadedTask,
    student: Choice,
    evaluator: Choice,
    tuner: Choice,
) -> str:
    return digest(
        {
            "task": task.fingerprint,
            "student": _identity(suite, host, student),
            "evaluator": evaluator.identity,
            "tuner": tuner.identity,
            "recipe": {**dataclasses.asdict(suite.recipe), "learning_rate": None},
            "learning_rates": list(suite.learning_rates),
            "full_steps": suite.full_steps,
        }
    )[:16]


def _looks_through(
    suite: Suite, host: PluginHost, distiller: Choice
) -> dict[str, Mapping[str, Any] | None]:
    """The identities of the models that a distiller uses besides the one it is for."""

    def identity(option: str) -> Mapping[str, Any] | None:
        spec = distiller.options.get(option)
        return student_choice(suite, host, spec).identity if spec else None

    teacher = identity(TEACHER_OPTION)
    return {"proxy": identity(PROXY_OPTION), **({"teacher": teacher} if teacher else {})}


def _identity(suite: Suite, host: PluginHost, choice: Choice) -> dict[str, Any]:
    """A choice's identity with those of the students that it builds on, if any."""
    specs = getattr(choice.instance, "uses_students", ())
    students = [_identity(suite, host, student_choice(suite, host, spec)) for spec in specs]
    return {**choice.identity, "students": students} if students else choice.identity


def _choice(suite: Suite, host: PluginHost, kind: Kind, text: str, **defaults: str) -> Choice:
    spec = suite.spec_of(kind, text)
    if spec.options and kind != "distiller":
        raise UsageError(
            f"{kind} '{text}' has options in brackets, which only distillers take",
            hint=f"Write --set {kind}.{spec.name}.OPTION=VALUE.",
        )
    component = host.registry.find(kind, spec.name)
    known = option_names(component)
    options = {k: v for k, v in defaults.items() if k in known}
    options |= suite.options_for(kind, spec.name, known)
    return resolve(component, spec.argument, {**options, **spec.options})


def _distiller_choice(suite: Suite, host: PluginHost, text: str) -> Choice:
    """A distiller, with the suite's proxy and teacher where it takes them and none was set."""
    defaults = {PROXY_OPTION: student_choice(suite, host, suite.proxy or suite.students[0]).label}
    if suite.teacher:
        defaults[TEACHER_OPTION] = student_choice(suite, host, suite.teacher).label
    return _choice(suite, host, "distiller", text, **defaults)


def _load_task(suite: Suite, host: PluginHost, locator: DataLocator, text: str) -> LoadedTask:
    choice = _choice(suite, host, "task", text)
    data = choice.instance.load(locator)
    check_task(choice.component, data)
    return LoadedTask(choice, data)


def _check_settings(suite: Suite, host: PluginHost) -> None:
    """Refuses settings that no component in use answers to."""
    used: dict[Kind, Sequence[str]] = {
        "task": suite.tasks,
        "distiller": suite.chosen_distillers(),
        "student": (*suite.students, *filter(None, (suite.proxy, suite.teacher))),
        "evaluator": suite.evaluators,
    }
    for kind, table in suite.settings.items():
        names = [suite.spec_of(kind, text).name for text in used[kind]]
        options = {n: option_names(host.registry.find(kind, n)) for n in names}
        for option in table.get("", {}):
            known = {o for names_of in options.values() for o in names_of}
            if option not in known:
                raise UsageError(
                    f"no {kind} of this run has an option '{option}'",
                    hint=did_you_mean(option, known),
                )
        for name in table:
            if name:
                host.registry.find(kind, name)
