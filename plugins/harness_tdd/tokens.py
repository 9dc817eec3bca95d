"""What `tdd` learned as text: the nearest token of each vector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.budget import Budget
from harness.context import StageContext
from harness.types import DistilledData, TaskData
from harness_tdd.options import TddOptions


@dataclass(frozen=True)
class TddTokens(TddOptions):
    """What `tdd` learned, each vector replaced by its nearest allowed token, as text.

    Learning is shared with `tdd` where the options agree. The published value for this is chance
    (50.2 % on SST-2 at 5 rows a class, Maekawa et al. 2024, arXiv 2404.00264): between the two
    stands what a method that writes text could reach.

    labels: `hard`, the class to which the learned label gives most, or the learned label (`soft`).
    """

    labels: Literal["hard", "soft"] = "hard"

    def distill(self, task: TaskData, budget: Budget, context: StageContext) -> DistilledData:
        """As many rows as the budget allows, as text.

        Raises:
            UsageError, DivergenceError: as `Tdd.distill`.
        """
        self.require_text(task)
        from harness_tdd.stages import token_rows

        return token_rows(self, task, budget, context, soft=self.labels == "soft")
