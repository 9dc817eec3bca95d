"""The distillers `random` and `full`: rows drawn at random, and all of train."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.budget import Budget
from harness.context import StageContext
from harness.types import DistilledData, TaskData
from harness_coreset.groups import shares, split_groups, train_labels


@dataclass(frozen=True)
class RandomRows:
    """Rows drawn without replacement, anew for each seed and budget: no set contains another.

    balanced: draw within each class, as many of each as the budget allows.
    """

    balanced: bool = True

    def distill(self, task: TaskData, budget: Budget, context: StageContext) -> DistilledData:
        """A selection of train rows, grouped by class when balanced."""
        wanted = shares(task, budget, balanced=self.balanced)
        groups = split_groups(train_labels(task), wanted, task.budget_rows(budget))
        drawn = [
            context.numpy_generator("random", str(budget), group.name).choice(
                group.members, group.quota, replace=False
            )
            for group in groups
        ]
        return DistilledData.select(task, np.concatenate(drawn))


@dataclass(frozen=True)
class FullTrain:
    """The whole train split, in its own order, whatever the budget."""

    def distill(self, task: TaskData, budget: Budget, context: StageContext) -> DistilledData:
        del budget, context
        return DistilledData.select(task, np.arange(len(task.train)))
