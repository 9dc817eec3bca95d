"""RDS+: rows nearest to the target's examples by weighted mean hidden states, in turns."""

from __future__ import annotations

from dataclasses import dataclass

from harness.budget import Budget
from harness.context import StageContext
from harness.kit.language.proxy import CausalProxy, require_instructions
from harness.kit.selection.row_pool import considered_rows
from harness.kit.selection.target_rows import target_rows
from harness.types import DistilledData, TaskData
from harness_relevance.directions import directions, has_direction, target_directions
from harness_relevance.picking import (
    budget_places,
    pick_in_turns,
    picked_rows,
    query_blocks,
    spread,
)
from harness_relevance.proxy_options import HiddenStateOptions


@dataclass(frozen=True)
class RDSPlus(HiddenStateOptions):
    """RDS+ (Ivison et al. 2025, arXiv 2503.01807).

    A row is the mean of the last layer's hidden states over its prompt and completion, weighted
    by position, of an untrained proxy. The target's rows, each by itself, take turns: each takes
    the pool row of largest cosine that is still free. In the published code an example whose
    favourite is gone loses its turn; here it takes the next one.
    """

    def distill(self, task: TaskData, budget: Budget, context: StageContext) -> DistilledData:
        """A selection of train rows, in the order they are taken.

        Raises:
            UsageError: no instruction task, an empty target, a budget that train or the pool
                cannot meet, or no usable proxy.
            HarnessError: too few rows have a vector with a direction.
        """
        require_instructions(task, "rds-plus")
        target_rows(task)
        proxy = CausalProxy(self.proxy, task, context)
        rows = considered_rows(task, budget, self.pool)
        pool = directions(proxy.states("train", max_length=self.max_length, rows=rows).weighted)
        targets = target_directions(proxy.states("validation", max_length=self.max_length).weighted)
        examples = targets[has_direction(targets)]
        total = len(task.train)
        similarities = (
            spread(pool @ examples[part].T, rows, total)
            for part in query_blocks(total, len(examples))
        )
        picked = pick_in_turns(similarities, budget_places(task, budget))
        report = {
            "target_rows": len(targets),
            "target_rows_without_vector": len(targets) - len(examples),
            "rows_without_score": int((~has_direction(pool)).sum()),
            "rows_considered": len(rows),
        }
        return picked_rows(task, picked, ("train", "validation"), report)
