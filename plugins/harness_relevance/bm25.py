"""BM25: pool rows as documents, the target's rows as queries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer

from harness.budget import Budget
from harness.context import StageContext
from harness.data.texts import joined_texts
from harness.errors import UsageError
from harness.kit.selection.target_rows import target_rows
from harness.options import NonNegative, Share
from harness.types import DistilledData, TaskData
from harness_relevance.picking import (
    PickedRows,
    budget_places,
    pick_highest,
    pick_in_turns,
    picked_rows,
    query_blocks,
)
from harness_relevance.target import subtask_members

WORDS = r"(?u)\w+"


@dataclass(frozen=True)
class BM25:
    """Okapi BM25 (Robertson and Zaragoza 2009) of pool rows for the target's rows.

    A pool row d is worth to a query q, with the inverse document frequency that is never negative
    (Lucene's; Kamphuis et al. 2020, table 1),

        sum over words t of  q_t  ln(1 + (N - n_t + 1/2) / (n_t + 1/2))
                             tf (k1 + 1) / (tf + k1 (1 - b + b |d| / mean |d|)),

    q_t and tf being how often t occurs in q and in d, n_t in how many of the N pool rows. Prompt
    and completion are one text; its words are the longest runs of letters, digits and underscores,
    in lower case; no stemming and no stop words, since frequent words weigh next to nothing.

    queries: the target's `rows`, or its `subtasks`, each with the mean counts of its rows.
    aggregate: a pool row has the `mean` or the `max` of its values to all queries, or the queries
    take rows in `turns`. Values grow with a query's length, so long queries count for more in mean
    and max, and as much as any other in turns.
    k1: how slowly repetitions saturate; b: how much long rows are discounted.
    """

    aggregate: Literal["mean", "max", "turns"] = "mean"
    queries: Literal["rows", "subtasks"] = "rows"
    k1: NonNegative = 1.5
    b: Share = 0.75

    def distill(self, task: TaskData, budget: Budget, context: StageContext) -> DistilledData:
        """A selection of train rows, best first; with classes, class by class.

        Raises:
            UsageError: an empty target, or one without a word of the pool.
        """
        del context
        target = target_rows(task)
        counts = TermCounts.of(
            joined_texts(task.train, task.input_columns), joined_texts(target, task.input_columns)
        )
        values = bm25_weights(counts.pool, k1=self.k1, b=self.b)
        queries = counts.queries
        if self.queries == "subtasks":
            queries = _averaging(subtask_members(target), len(target)) @ queries
        picked = self._pick(values, queries, task, budget)
        report = {
            "target_rows": len(target),
            "queries": queries.shape[0],
            "chosen_without_score": int((picked.scores == 0).sum()),
        }
        return picked_rows(task, picked, ("train", "validation"), report)

    def _pick(
        self, values: sparse.csr_array, queries: sparse.csr_array, task: TaskData, budget: Budget
    ) -> PickedRows:
        places = budget_places(task, budget)
        if self.aggregate == "turns":
            return pick_in_turns(_scores(values, queries), places)
        if self.aggregate == "mean":
            return pick_highest(values @ queries.mean(0), places)
        scores = np.zeros(values.shape[0])
        for block in _scores(values, queries):
            scores = np.maximum(scores, block.max(1))
        return pick_highest(scores, places)


@dataclass(frozen=True)
class TermCounts:
    """How often each word of the pool occurs: pool [n, words], queries [q, words]."""

    pool: sparse.csr_array
    queries: sparse.csr_array

    @classmethod
    def of(cls, pool: Sequence[str], queries: Sequence[str]) -> TermCounts:
        """Counts the words of texts.

        Raises:
            UsageError: the pool has no words, or the queries have none of them.
        """
        vectorizer = CountVectorizer(token_pattern=WORDS)
        try:
            counted = vectorizer.fit_transform(pool)
        except ValueError as error:
            raise UsageError("bm25 found no words in the pool") from error
        asked = vectorizer.transform(queries)
        if not asked.nnz:
            raise UsageError("the target has no word in common with the pool")
        return cls(sparse.csr_array(counted), sparse.csr_array(asked))


def bm25_weights(counts: sparse.csr_array, *, k1: float, b: float) -> sparse.csr_array:
    """What one occurrence of a word in a query adds to each row's value, [n, words].

    Args:
        counts: [n, words] how often words occur in rows.
    """
    rows, words = counts.nonzero()
    tf = counts.data.astype(np.float64)
    lengths = counts.sum(1)
    holding = np.bincount(words, minlength=counts.shape[1])
    rarity = np.log1p((counts.shape[0] - holding + 0.5) / (holding + 0.5))
    damping = k1 * (1 - b + b * lengths / lengths.mean())
    data = rarity[words] * tf * (k1 + 1) / (tf + damping[rows])
    return sparse.csr_array((data, counts.indices, counts.indptr), shape=counts.shape)


def _averaging(groups: Sequence[np.ndarray], rows: int) -> sparse.csr_array:
    """[groups, rows], each line the weights of a mean."""
    lines = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    shares = np.concatenate([np.full(len(group), 1 / len(group)) for group in groups])
    return sparse.csr_array((shares, (lines, np.concatenate(groups))), shape=(len(groups), rows))


def _scores(values: sparse.csr_array, queries: sparse.csr_array) -> Iterator[np.ndarray]:
    """[n, b] values of all rows to some queries after the others."""
    for part in query_blocks(values.shape[0], queries.shape[0]):
        yield (values @ queries[part].T).toarray()
