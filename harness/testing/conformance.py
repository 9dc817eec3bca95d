"""What the conformance kits share: contexts, demands, and a student fitted twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.context import StageContext
from harness.errors import ContractError
from harness.protocols import Offering
from harness.randomness import seeded
from harness.registry.components import Component, Kind
from harness.registry.contracts import check_capabilities
from harness.types import DistilledData, Recipe, TaskData


def toy_context(folder: Path, seed: int = 0) -> StageContext:
    """A context for one stage that keeps its files in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    return StageContext(seed=seed, workdir=folder)


MakeContext = Callable[[Path, int], StageContext]
"""From a folder and a seed: for parts that look through other students, or keep arrays."""


def described(kind: Kind, instance: Any) -> dict[str, Any]:
    """What a registration would say of a part that nobody registered."""
    return {
        "kind": kind, "name": type(instance).__name__, "target": type(instance), "summary": "",
        "plugin": type(instance).__module__, "distribution": "", "version": "",
    }  # fmt: skip


def described_component(kind: Kind, instance: Any) -> Component:
    return Component(**described(kind, instance))


def require(component: Component, holds: bool, field: str, expected: str) -> None:
    """Raises ContractError, which names the part and its field, unless the demand holds."""
    if not holds:
        raise ContractError(
            plugin=f"{component.kind} '{component.name}'", field=field, expected=expected,
            got="something else",
        )  # fmt: skip


@dataclass(frozen=True)
class FittedTwice:
    """One student, fitted two times with the same seed, and the first one read back."""

    first: Any
    again: Any
    loaded: Any

    @classmethod
    def of(
        cls,
        component: Component,
        student: Any,
        task: TaskData,
        data: DistilledData,
        recipe: Recipe,
        folder: Path,
        make_context: MakeContext = toy_context,
    ) -> FittedTwice:
        """Raises ContractError when the student offers what it has not, or has no fingerprint."""
        require(component, isinstance(student.fingerprint(), str), "fingerprint", "a string")

        def fit(name: str) -> Any:
            context = make_context(folder / name, 0)
            with seeded(context.seed):
                return student.fit(task, data, recipe, context)

        first, again = fit("fit-0"), fit("fit-1")
        if isinstance(student, Offering):
            check_capabilities(component, student.offers, first)
        first.save(folder / "saved")
        loaded = student.load(folder / "saved", task, make_context(folder / "load", 0))
        return cls(first, again, loaded)
