"""Keys: what a stage's result depends on, as one hash, stage upon stage."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property

from harness.budget import Budget
from harness.fingerprint import digest, stage_key
from harness.plan import LoadedTask
from harness.planning.suite_components import SuiteComponents
from harness.registry.components import ConfiguredComponent, distiller_component
from harness.types import Recipe


@dataclass(frozen=True)
class Combination:
    """What a row of a board is made of, before its seeds.

    recipe, learning_rates: those of its budget; pool: the share of the train rows that a
    distilling seed draws; tuner: the evaluator that chooses the rate.
    """

    components: SuiteComponents
    task: LoadedTask
    distiller: ConfiguredComponent
    budget: Budget
    student: ConfiguredComponent
    evaluator: ConfiguredComponent
    tuner: ConfiguredComponent
    recipe: Recipe
    learning_rates: tuple[float, ...]

    @property
    def pool(self) -> float:
        """1 where a pool would not be what the row is of: the whole split, or no row at all."""
        looks = not (self.budget.is_whole or self.budget.is_nothing)
        return self.components.suite.pool if looks else 1.0

    def distill_key(self, seed: int) -> str:
        """Of the distilled set; without the seed where neither method nor pool draws anything."""
        component = distiller_component(self.distiller)
        drawn = {} if self.pool == 1 else {"pool": self.pool}
        same = component.deterministic or component.makes_model
        return stage_key(
            "distill",
            {
                "task": self.task.fingerprint,
                "distiller": self.components.identity(self.distiller),
                **self.components.looks_through(self.distiller),
                "budget": str(self.budget),
                "seed": None if same and not drawn else seed,
                **drawn,
            },
        )

    def fit_key(self, distill_key: str, distill_seed: int, fit_seed: int) -> str:
        """Of the trained student."""
        return stage_key(
            "fit",
            {
                "distill": distill_key,
                "student": self.components.identity(self.student),
                "recipe": dataclasses.asdict(self.recipe),
                "learning_rates": list(self.learning_rates),
                "tuner": self.tuner.identity,
                "seeds": [distill_seed, fit_seed],
            },
        )

    def evaluate_key(self, fit_key: str) -> str:
        """Of the record."""
        return stage_key(
            "evaluate",
            {
                "fit": fit_key,
                "evaluator": self.evaluator.identity,
                "test": self.task.test_fingerprint,
            },
        )

    @cached_property
    def protocol(self) -> str:
        """Of what all rows of one board must share, whatever their method and budget."""
        suite = self.components.suite
        return digest(
            {
                "task": self.task.fingerprint,
                "student": self.components.identity(self.student),
                "evaluator": self.evaluator.identity,
                "tuner": self.tuner.identity,
                "recipe": {**dataclasses.asdict(suite.recipe), "learning_rate": None},
                "learning_rates": list(suite.learning_rates),
                "full_steps": suite.full_steps,
                **({} if suite.pool == 1 else {"pool": suite.pool}),
            }
        )[:16]
