"""What evaluators share: errors that say who broke a promise, and a record's items read back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from harness.errors import ContractError

if TYPE_CHECKING:
    import numpy as np

    from harness.protocols import Trained
    from harness.types import TaskData


def unfit_task(task: TaskData, field: str, expected: str, got: str) -> ContractError:
    """A task that the evaluator cannot score."""
    return ContractError(plugin=f"task '{task.name}'", field=field, expected=expected, got=got)


def broken_result(trained: Trained, method: str, expected: str, got: str) -> ContractError:
    """A trained student that answers other than it should."""
    field = f"the result of {method}"
    student = f"student '{trained.info.name}'"
    return ContractError(plugin=student, field=field, expected=expected, got=got)


def broken_items(expected: str, got: str) -> ContractError:
    """A record whose items contradict one another."""
    return ContractError(plugin="the record", field="items", expected=expected, got=got)


def named_items(items: Mapping[str, np.ndarray], names: Sequence[str]) -> list[np.ndarray]:
    """The arrays of these names; raises ContractError when one is missing."""
    missing = [name for name in names if name not in items]
    if missing:
        raise broken_items(f"the arrays {', '.join(names)}", f"none for {', '.join(missing)}")
    return [items[name] for name in names]


def require_classes(classes: int, *numbers: np.ndarray) -> None:
    """Raises ContractError when one of the class numbers is none of `classes`."""
    highest = max(part.max(initial=0) for part in numbers)
    if highest >= classes:
        raise broken_items(f"class numbers below {classes}", str(highest))
