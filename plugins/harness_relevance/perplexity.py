"""Perplexity pruning: rows by a language model's perplexity of their completions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness.budget import Budget
from harness.context import StageContext
from harness.kit.language.proxy import CausalProxy, require_instructions
from harness.kit.selection.row_pool import considered_rows
from harness.types import DistilledData, TaskData
from harness_relevance.picking import (
    PickedRows,
    budget_places,
    highest,
    pick_highest,
    picked_rows,
    score_report,
    spread,
)
from harness_relevance.proxy_options import ProxyOptions


@dataclass(frozen=True)
class Perplexity(ProxyOptions):
    """Pruning by perplexity (Marion et al. 2023, arXiv 2309.04564).

    The perplexity of a completion given its prompt under an untrained proxy is the exponential of
    the mean loss of its tokens; the report has losses, in nats. The paper prunes pre-training
    texts, and keeps what lies around the median, or at either end.

    keep: rows of `low` or `high` perplexity, or those in the `middle` of all in their order.
    """

    keep: Literal["low", "middle", "high"] = "middle"

    def distill(self, task: TaskData, budget: Budget, context: StageContext) -> DistilledData:
        """A selection of train rows, the lowest, the highest or the most middling first.

        Raises:
            UsageError: no instruction task, a budget that train or the pool cannot meet, or no
                usable proxy.
            HarnessError: too few losses are finite.
        """
        require_instructions(task, "perplexity")
        rows = considered_rows(task, budget, self.pool)
        found = CausalProxy(self.proxy, task, context).losses("train", rows=rows)
        losses = spread(found, rows, len(task.train))
        preference = {"low": -losses, "high": losses, "middle": -distance_from_middle(losses)}
        picked = pick_highest(preference[self.keep], budget_places(task, budget))
        chosen = PickedRows(picked.rows, losses[picked.rows])
        report = {"rows_considered": len(rows), **score_report(found)}
        return picked_rows(task, chosen, ("train",), report)


def distance_from_middle(values: np.ndarray) -> np.ndarray:
    """[n] how many ranks each value is away from the median's; NaN for what is not finite.

    Equal values have the ranks of their positions.
    """
    order = highest(-values, len(values))
    distances = np.full(len(values), np.nan)
    distances[order] = np.abs(np.arange(len(order)) - (len(order) - 1) / 2)
    return distances
