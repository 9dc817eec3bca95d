"""RDS: rows whose last hidden states are most similar to a subtask's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.budget import Budget
from harness.context import StageContext
from harness.kit.language.proxy import CausalProxy, require_instructions
from harness.kit.selection.row_pool import considered_rows
from harness.kit.selection.target_rows import target_rows
from harness.types import DistilledData, TaskData
from harness_relevance.directions import directions, has_direction, target_directions
from harness_relevance.picking import (
    budget_places,
    pick_highest,
    picked_rows,
    score_report,
    spread,
)
from harness_relevance.proxy_options import HiddenStateOptions
from harness_relevance.target import subtask_members


@dataclass(frozen=True)
class RDS(HiddenStateOptions):
    """Representation-based data selection, the baseline of LESS (Xia et al. 2024).

    A row is the last layer's hidden state at its last token, prompt and completion read by an
    untrained proxy. Its score is the cosine with the mean of a subtask's rows, each taken at
    length 1, and of several subtasks the largest.
    """

    def distill(self, task: TaskData, budget: Budget, context: StageContext) -> DistilledData:
        """A selection of train rows, best first.

        Raises:
            UsageError: no instruction task, an empty target, a budget that train or the pool
                cannot meet, or no usable proxy.
            HarnessError: too few rows have a vector with a direction.
        """
        require_instructions(task, "rds")
        subtasks = subtask_members(target_rows(task))
        proxy = CausalProxy(self.proxy, task, context)
        rows = considered_rows(task, budget, self.pool)
        pool = directions(proxy.states("train", max_length=self.max_length, rows=rows).last)
        goal = target_directions(proxy.states("validation", max_length=self.max_length).last)
        scores = (pool @ subtask_means(goal, subtasks).T).max(1)
        spread_scores = spread(scores, rows, len(task.train))
        picked = pick_highest(spread_scores, budget_places(task, budget))
        report = {
            "target_rows": len(goal),
            "target_rows_without_vector": int((~has_direction(goal)).sum()),
            "subtasks": len(subtasks),
            "rows_considered": len(rows),
            **score_report(scores),
        }
        return picked_rows(task, picked, ("train", "validation"), report)


def subtask_means(units: np.ndarray, subtasks: Sequence[np.ndarray]) -> np.ndarray:
    """[subtasks, d] the direction of each subtask's mean; rows of NaN are left out.

    Subtasks without any row left, or whose rows cancel out, are missing.

    Args:
        units: [n, d]; subtasks: positions of each one's rows.
    """
    usable = has_direction(units)
    kept = [rows[usable[rows]] for rows in subtasks if usable[rows].any()]
    means = directions(np.stack([units[rows].mean(0) for rows in kept]))
    return means[has_direction(means)]
