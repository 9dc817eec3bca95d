"""Refuses plans that lm-eval could not score, before anything is distilled or trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.plan import Plan


def check_plan(plan: Plan, name: str) -> None:
    """Checks each task once for each use of the evaluator `name`; test splits stay closed.

    Raises:
        UsageError: a task without what the evaluator needs, options that do not fit it, or
            learning rates to choose on a split that lm-eval reports.
    """
    uses = {
        (use.label, cell.task.data.name, tunes): (use.instance, cell.task.data)
        for cell in plan.cells
        for use, tunes in ((cell.evaluator, False), (cell.tuner, len(cell.learning_rates) > 1))
        if use.component.name == name
    }
    for (_, _, tunes), (evaluator, task) in uses.items():
        evaluator.check(task.sealed(), tunes=tunes)
