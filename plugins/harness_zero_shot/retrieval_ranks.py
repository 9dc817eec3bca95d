"""Ranks of the best positive of each query, in bounded memory."""

from __future__ import annotations

import numpy as np

from harness_zero_shot.class_ranks import TIE

_BLOCK_VALUES = 1 << 21
"""Similarities in memory at once: 16 MB."""


def best_positive_ranks(
    queries: np.ndarray, gallery: np.ndarray, pairs: np.ndarray, *, block: int = _BLOCK_VALUES
) -> np.ndarray:
    """[queries] int64: 1 + the wrong answers at least as similar as the most similar right one.

    Right answers never stand in one another's way, and a tie counts against the model.

    Args:
        queries: [q, width]; gallery: [g, width]; similarities are their products.
        pairs: [p, 2] distinct pairs of a query and a right answer; each query has one or more.
        block: similarities that may be in memory at once; a query's own row always is.
    """
    asked = queries.astype(np.float64)
    offered = gallery.astype(np.float64).T
    ordered = pairs[np.argsort(pairs[:, 0], kind="stable")]
    starts = np.searchsorted(ordered[:, 0], np.arange(len(queries) + 1))
    step = max(1, block // max(1, len(gallery)))
    ranks = np.empty(len(queries), dtype=np.int64)
    for first in range(0, len(queries), step):
        last = min(first + step, len(queries))
        similar = asked[first:last] @ offered
        own = ordered[starts[first] : starts[last]]
        line = own[:, 0] - first
        right = similar[line, own[:, 1]]
        begins = starts[first:last] - starts[first]
        least = np.maximum.reduceat(right, begins) - TIE
        tied = np.add.reduceat((right >= least[line]).astype(np.int64), begins)
        ranks[first:last] = 1 + np.count_nonzero(similar >= least[:, None], axis=1) - tied
    return ranks
