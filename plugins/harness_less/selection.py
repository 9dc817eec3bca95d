"""Selection of the best rows under a budget of rows, and one of tokens."""

from __future__ import annotations

import numpy as np

from harness.errors import UsageError
from harness.kit.gradients.influence import select_top


def choose(scores: np.ndarray, lengths: np.ndarray, rows: int, tokens: int = 0) -> np.ndarray:
    """Indices of the highest scores, best first, equal ones by index; rows without a score never.

    Args:
        scores: [n], -inf for rows that must not be taken; lengths: [n] tokens.
        rows: most rows; fewer come when fewer have a score.
        tokens: most tokens of all together, 0 for no limit: the ranking ends before the first
            row that would not fit.

    Raises:
        UsageError: not even one row can be taken.
    """
    ranked = select_top(scores, min(rows, int(np.isfinite(scores).sum())))
    if len(ranked) == 0:
        raise UsageError("no row of the pool has a gradient that could be scored")
    if not tokens:
        return ranked
    fitting = int((np.cumsum(lengths[ranked]) <= tokens).sum())
    if fitting == 0:
        raise UsageError(
            f"the best row has {lengths[ranked[0]]} tokens, and the budget is {tokens}",
            hint="Raise the option tokens of less.",
        )
    return ranked[:fitting]
