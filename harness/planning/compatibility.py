"""Whether tasks, students and evaluators of a plan fit one another, as far as they say so."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.plan import Cell
    from harness.registry.components import Choice
    from harness.types import Modality, TaskData


def check_compatible(cells: Iterable[Cell]) -> None:
    """Refuses a cell that could only fail, by what its student and evaluator declare.

    `modalities` of either, and of a distiller, are the kinds of task that it is for; `offers` of a
    student are the methods of what it trains, of which an evaluator's `needs` are some. Whoever
    declares nothing passes here, and is checked when it is used.

    Raises:
        UsageError: a task of another modality, or a need that is not offered.
    """
    pairs = {
        (c.task.data.name, c.student.label, c.evaluator.label, c.distiller.label): c for c in cells
    }
    for cell in pairs.values():
        for choice in (cell.student, cell.evaluator, cell.distiller):
            _check_modality(choice, cell.task.data)
        _check_offers(cell.student, cell.evaluator)


def modalities_of(component: object) -> tuple[Modality, ...] | None:
    """What a component, or its class, declares to be for; None when it says nothing."""
    return getattr(component, "modalities", None)


def _check_modality(choice: Choice, task: TaskData) -> None:
    modalities = modalities_of(choice.instance)
    if modalities is not None and task.modality not in modalities:
        kind = choice.component.kind
        raise UsageError(
            f"{kind} '{choice.label}' is for tasks of {' or '.join(modalities)}, and"
            f" '{task.name}' is one of {task.modality}",
            hint=f"`harness ls` lists every {kind}.",
        )


def _check_offers(student: Choice, evaluator: Choice) -> None:
    offers = getattr(student.instance, "offers", None)
    missing = [
        need for need in evaluator.instance.needs if offers is not None and need not in offers
    ]
    if missing:
        raise UsageError(
            f"evaluator '{evaluator.label}' needs a student with {_listed(missing)}, and student"
            f" '{student.label}' has {_listed(offers or ()) or 'nothing'}",
            hint="Choose another evaluator or another student.",
        )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
