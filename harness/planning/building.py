"""Plan building: cells of every task, distiller, budget, seed, student and evaluator."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from harness.budget import Budget
from harness.data.sources import DataLocator
from harness.errors import HarnessError, UsageError
from harness.plan import Cell, LoadedTask, Plan
from harness.planning.compatibility import check_compatible
from harness.planning.keys import Combination
from harness.planning.suite_components import SuiteComponents
from harness.plugins import PluginHost
from harness.registry.components import ConfiguredComponent, distiller_component
from harness.suite import Suite
from harness.types import Recipe


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
    components = SuiteComponents(suite, host)
    components.check_settings()
    tasks = [components.task(text, locator) for text in suite.tasks]
    cells = tuple(_cells(components, tasks))
    if not only_distil or any(cell.makes_model for cell in cells):
        check_compatible(cells)

    def student(spec: str) -> Any:
        return components.student(spec).instance

    plan = Plan(suite, cells, host, student)
    host.gather("harness_plan", report, let_through=(HarnessError,), plan=plan)
    return plan


def _cells(components: SuiteComponents, tasks: Sequence[LoadedTask]) -> Iterator[Cell]:
    suite = components.suite
    seeds = [(d, f) for d in suite.distill_seeds for f in suite.fit_seeds]
    for combinations in [list(_combinations(components, task)) for task in tasks]:
        for distill_seed, fit_seed in seeds:
            for combination in combinations:
                yield _cell(combination, distill_seed, fit_seed)


def _combinations(components: SuiteComponents, task: LoadedTask) -> Iterator[Combination]:
    suite = components.suite
    distillers = [components.distiller(text) for text in suite.chosen_distillers()]
    students = [components.student(text) for text in suite.students]
    evaluators = [components.evaluator(text) for text in suite.evaluators]
    for distiller in distillers:
        for budget in _budgets(suite, distiller, task):
            recipe, rates = _recipe_at(suite, budget)
            for student in students:
                for evaluator in evaluators:
                    yield Combination(
                        components, task, distiller, budget, student, evaluator, evaluators[0],
                        recipe, rates,
                    )  # fmt: skip


def _cell(of: Combination, distill_seed: int, fit_seed: int) -> Cell:
    distill_key = of.distill_key(distill_seed)
    fit_key = of.fit_key(distill_key, distill_seed, fit_seed)
    return Cell(
        task=of.task,
        distiller=of.distiller,
        budget=of.budget,
        distill_seed=distill_seed,
        fit_seed=fit_seed,
        student=of.student,
        evaluator=of.evaluator,
        tuner=of.tuner,
        recipe=of.recipe,
        learning_rates=of.learning_rates,
        pool=of.pool,
        distill_key=distill_key,
        fit_key=fit_key,
        key=of.evaluate_key(fit_key),
        protocol=of.protocol,
    )


def _budgets(suite: Suite, distiller: ConfiguredComponent, task: LoadedTask) -> list[Budget]:
    component = distiller_component(distiller)
    fixed = component.fixed_budget or ("100%" if component.makes_model else "")
    budgets = [Budget.parse(text) for text in ([fixed] if fixed else suite.budgets)]
    for budget in budgets:
        try:
            task.data.budget_rows(budget)
        except UsageError as error:
            message = f"task '{task.data.name}': {error.message}"
            raise UsageError(message, hint=error.hint) from error
    return budgets


def _recipe_at(suite: Suite, budget: Budget) -> tuple[Recipe, tuple[float, ...]]:
    """The recipe and the grid of rates: without rows there is nothing to do or to tune."""
    if budget.is_nothing:
        return replace(suite.recipe, steps=0), suite.learning_rates[:1]
    steps = suite.full_steps if budget.is_whole and suite.full_steps else suite.recipe.steps
    return replace(suite.recipe, steps=steps), suite.learning_rates
