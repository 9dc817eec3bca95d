"""The target of a selection: the validation rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.errors import UsageError
from harness.types import TaskData

if TYPE_CHECKING:
    from datasets import Dataset


def target_rows(task: TaskData) -> Dataset:
    """The rows of validation.

    Raises:
        UsageError: there are none.
    """
    if "validation" not in task.splits or not len(task.validation):
        raise UsageError(
            f"task '{task.name}' has no validation rows, which say what to select for",
            hint="Use a method that looks at the pool alone, such as random or length.",
        )
    return task.validation
