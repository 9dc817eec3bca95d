"""The options that keep one task, student, evaluator or budget of a results folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from harness.records.results import Results

WHOLE = "100%"
"""The budget of the reference row, which is always kept."""
Choice = Annotated[str, typer.Option(help="Keep only this one.")]


def narrowed(results: Results, *, task: str, student: str, evaluator: str, budget: str) -> Results:
    """What is left; an empty choice keeps all.

    Raises:
        UsageError: there is nothing of a chosen name.
    """
    return results.filter(
        task=task or (),
        student=student or (),
        evaluator=evaluator or (),
        budget=[budget, WHOLE] if budget else (),
    )
