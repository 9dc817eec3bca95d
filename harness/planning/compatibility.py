"""Compatibility checks of a plan: tasks, students and evaluators against one another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from harness.errors import UsageError
from harness.protocols import Checking, ForModalities, Offering

if TYPE_CHECKING:
    from harness.plan import Cell
    from harness.protocols import Student
    from harness.registry.components import ConfiguredComponent
    from harness.types import TaskData


def check_compatible(cells: Sequence[Cell]) -> None:
    """Refuses a cell that could only fail, by what its student, evaluator and distiller declare.

    See `ForModalities`, `Offering` and `Checking`. Whoever declares nothing passes here, and is
    checked when it is used.

    Raises:
        UsageError: a task of another modality, or a need that is not offered.
        UsageError, ContractError: an evaluator's own check.
    """
    pairs = {
        (c.task.data.name, c.student.label, c.evaluator.label, c.distiller.label): c for c in cells
    }
    for cell in pairs.values():
        for configured in (cell.student, cell.evaluator, cell.distiller):
            _check_modality(configured, cell.task.data)
        _check_offers(cell.student, cell.evaluator)
    _ask_evaluators(cells)


def _check_modality(configured: ConfiguredComponent, task: TaskData) -> None:
    part = configured.instance
    if isinstance(part, ForModalities) and task.modality not in part.modalities:
        kind = configured.component.kind
        raise UsageError(
            f"{kind} '{configured.label}' is for tasks of {' or '.join(part.modalities)}, and"
            f" '{task.name}' is one of {task.modality}",
            hint=f"`harness ls` lists every {kind}.",
        )


def _check_offers(student: ConfiguredComponent, evaluator: ConfiguredComponent) -> None:
    if not isinstance(student.instance, Offering):
        return
    offers = student.instance.offers
    missing = [need for need in evaluator.instance.needs if need not in offers]
    if missing:
        raise UsageError(
            f"evaluator '{evaluator.label}' needs a student with {_listed(missing)}, and student"
            f" '{student.label}' has {_listed(offers) or 'nothing'}",
            hint="Choose another evaluator or another student.",
        )


def _ask_evaluators(cells: Sequence[Cell]) -> None:
    """Each evaluator about each task once for each use that is made of it."""
    uses: dict[tuple[str, str, bool], tuple[ConfiguredComponent, TaskData, dict[str, Student]]] = {}
    for cell in cells:
        tuners = [(cell.tuner, True)] if len(cell.learning_rates) > 1 else []
        for evaluator, tunes in [(cell.evaluator, False), *tuners]:
            task = cell.task.data
            use = uses.setdefault((evaluator.label, task.name, tunes), (evaluator, task, {}))
            use[2][cell.student.label] = cell.student.instance
    for (_, _, tunes), (evaluator, task, students) in uses.items():
        if isinstance(evaluator.instance, Checking):
            evaluator.instance.check(task.sealed(), students, tunes=tunes)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
