"""Refuses plans whose tasks these evaluators could not score, before anything is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness_zero_shot.linear_probe import LinearProbe
from harness_zero_shot.retrieval import Retrieval
from harness_zero_shot.zero_shot import ZeroShot

if TYPE_CHECKING:
    from harness.plan import Plan


def check_plan(plan: Plan) -> None:
    """Checks each task once for each of these evaluators; test splits stay closed.

    Raises:
        UsageError, ContractError: a task without what the evaluator needs.
    """
    uses = {
        (use.label, cell.task.data.name): (use.instance, cell.task.data)
        for cell in plan.cells
        for use in (cell.evaluator, cell.tuner)
    }
    for evaluator, task in uses.values():
        if isinstance(evaluator, ZeroShot | Retrieval | LinearProbe):
            evaluator.check(task.sealed())
