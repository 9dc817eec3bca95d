"""The base of coreset methods: pool, candidates by group, choice, report."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from harness.budget import Budget
from harness.context import StageContext
from harness.kit.selection.row_pool import pooled_rows
from harness.options import Natural
from harness.types import DistilledData, TaskData
from harness_coreset.groups import Group, shares, split_groups, train_labels


@dataclass(frozen=True)
class Candidates:
    """The train rows a coreset may choose from.

    rows: [m] positions in train; labels: [m]; groups: who competes for how many places.
    """

    task: TaskData
    rows: np.ndarray
    labels: np.ndarray
    groups: Sequence[Group]


@dataclass(frozen=True)
class Choice:
    """positions: of the chosen rows among the candidates; report: what the method measured."""

    positions: np.ndarray
    report: Mapping[str, float | int | str] = field(default_factory=dict)


@dataclass(frozen=True)
class Coreset(ABC):
    """Options that all coresets on a proxy share.

    proxy: the student whose encoder or training the choice rests on; the suite's when empty.
    balanced: choose within each class, as many of each as the budget allows; otherwise choose
    among all rows, whatever their class.
    pool: about how many train rows to consider, each class by its share; all when 0.
    """

    proxy: str = ""
    balanced: bool = True
    pool: Natural = 0

    def distill(self, task: TaskData, budget: Budget, context: StageContext) -> DistilledData:
        """A selection of train rows, grouped by class when balanced.

        Raises:
            UsageError: a budget that train or the pool cannot meet, or no usable proxy.
        """
        wanted = shares(task, budget, balanced=self.balanced)
        total = task.budget_rows(budget)
        labels = train_labels(task)
        rows = pooled_rows(labels, self.pool, wanted, total)
        groups = split_groups(labels[rows], wanted, total)
        choice = self.choose(Candidates(task, rows, labels[rows], groups), context)
        report = {"rows_considered": len(rows), **choice.report}
        return DistilledData.select(task, rows[choice.positions], report=report)

    @abstractmethod
    def choose(self, candidates: Candidates, context: StageContext) -> Choice:
        """`quota` rows of each group."""
