"""The plan of a suite: tasks, cells with keys, and the events of a stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Protocol

from harness.budget import Budget
from harness.fingerprint import rows_digest, task_fingerprint
from harness.registry.components import ConfiguredComponent, distiller_component
from harness.suite import Suite
from harness.types import Recipe, TaskData

if TYPE_CHECKING:
    from harness.records.record import Cost
    from harness.storage.store import Store

StageKind = Literal["distill", "fit", "evaluate"]


@dataclass(frozen=True)
class LoadedTask:
    """A task with its rows read and checked."""

    component: ConfiguredComponent
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

    pool: the share of the train rows that the distilling seed draws for its method to look at.
    key: of the evaluate stage; fit_key and distill_key: of the stages it stands on.
    protocol: hash of what all rows of one board must share.
    """

    task: LoadedTask
    distiller: ConfiguredComponent
    budget: Budget
    distill_seed: int
    fit_seed: int
    student: ConfiguredComponent
    evaluator: ConfiguredComponent
    tuner: ConfiguredComponent
    recipe: Recipe
    learning_rates: tuple[float, ...]
    pool: float
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
        return distiller_component(self.distiller).makes_model

    def stage_keys(self) -> dict[StageKind, str]:
        return {"distill": self.distill_key, "fit": self.fit_key, "evaluate": self.key}


class Observers(Protocol):
    """Whoever is told of a run: `harness.plugins.PluginHost`."""

    def notify(self, hook: str, on_error: Callable[[str], None], **event: Any) -> None:
        """Calls a hook of every plugin; what one of them raises goes to `on_error` alone."""


@dataclass(frozen=True)
class Plan:
    """Every cell of a suite, in the order they will be run: seeds first, so that an
    interrupted run leaves methods with equally many seeds.

    observers: the plugins that are told of stages and records.
    student: a student instance by name, as `StageContext.student` offers it.
    """

    suite: Suite
    cells: tuple[Cell, ...]
    observers: Observers
    student: Callable[[str], Any]

    def missing(self, store: Store) -> list[Cell]:
        """The cells that have no record yet."""
        return [cell for cell in self.cells if not store.has_record(cell.key)]

    def stage_counts(self, cells: Sequence[Cell]) -> dict[StageKind, int]:
        """Distinct stages of each kind among some cells."""
        kinds: tuple[StageKind, ...] = ("distill", "fit", "evaluate")
        return {kind: len({cell.stage_keys()[kind] for cell in cells}) for kind in kinds}


@dataclass(frozen=True)
class StageEvent:
    """A stage that starts or ended; `cost` and `error` are for the end only."""

    kind: StageKind
    key: str
    cell: Cell
    cost: Cost | None = None
    error: str = ""
