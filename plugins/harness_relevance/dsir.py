"""DSIR: importance resampling of the pool towards the target's n-grams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import HashingVectorizer

from harness.budget import Budget
from harness.context import StageContext
from harness.data.texts import joined_texts
from harness.kit.selection.target_rows import target_rows
from harness.options import Count, Positive
from harness.types import DistilledData, TaskData
from harness_relevance.picking import (
    PickedRows,
    budget_places,
    pick_highest,
    picked_rows,
    score_report,
)

WORDS_AND_SIGNS = r"(?u)\w+|[^\w\s]+"


@dataclass(frozen=True)
class DSIR:
    """Data selection via importance resampling (Xie et al. 2023, arXiv 2302.03169).

    Words and bigrams of a row (runs of word characters or of signs, lower case) are hashed into
    `buckets`. A row with counts z has the log importance weight sum_j z_j log(p_j / q_j), p and q
    being the shares of the buckets in the target and in the pool. Adding Gumbel noise to the log
    weights and taking the highest draws rows without replacement in proportion to their weights.

    Other than in the published code, which adds 1e-8 to each share, each bucket is given
    `smoothing` more counts in target and pool: a target of some hundred rows leaves most buckets
    empty, and one n-gram that it lacks should not decide. No row is left out for being short.

    buckets: 10,000 in the paper. ngrams: the longest n-gram, 2 in the paper. smoothing: counts
    that each bucket is given.
    """

    buckets: Count = 10_000
    ngrams: Count = 2
    smoothing: Positive = 1.0

    def distill(self, task: TaskData, budget: Budget, context: StageContext) -> DistilledData:
        """A selection of train rows, in the order they are drawn; with classes, class by class.

        Raises:
            UsageError: an empty target.
        """
        target = target_rows(task)
        pool = hashed_ngrams(
            joined_texts(task.train, task.input_columns), self.buckets, self.ngrams
        )
        goal = hashed_ngrams(joined_texts(target, task.input_columns), self.buckets, self.ngrams)
        weights = log_importance(pool, goal, self.smoothing)
        noise = context.numpy_generator("dsir", str(budget)).gumbel(size=len(weights))
        drawn = pick_highest(weights + noise, budget_places(task, budget))
        picked = PickedRows(drawn.rows, weights[drawn.rows])
        report = {"target_rows": len(target), **score_report(weights)}
        return picked_rows(task, picked, ("train", "validation"), report)


def hashed_ngrams(texts: Sequence[str], buckets: int, ngrams: int) -> sparse.csr_array:
    """[n, buckets] how many of each text's n-grams, of 1 to `ngrams` words, fall into a bucket.

    An n-gram's words are joined by blanks; its bucket is |murmur3_32(n-gram, 0)| mod buckets.
    """
    vectorizer = HashingVectorizer(
        n_features=buckets,
        ngram_range=(1, ngrams),
        token_pattern=WORDS_AND_SIGNS,
        alternate_sign=False,
        norm=None,
    )
    return sparse.csr_array(vectorizer.transform(texts))


def log_importance(
    pool: sparse.csr_array, target: sparse.csr_array, smoothing: float
) -> np.ndarray:
    """[n] log importance weights of the pool's rows.

    Args:
        pool, target: [n, buckets] and [m, buckets] counts.
    """
    return pool @ (_log_shares(target, smoothing) - _log_shares(pool, smoothing))


def _log_shares(counts: sparse.csr_array, smoothing: float) -> np.ndarray:
    smoothed = counts.sum(0) + smoothing
    return np.log(smoothed) - np.log(smoothed.sum())
