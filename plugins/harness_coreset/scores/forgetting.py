"""Forgetting events: how often a proxy unlearns each row while it trains."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge

from harness.context import StageContext
from harness.types import Recipe
from harness_coreset.coreset import Candidates
from harness_coreset.scores.proxy_training import watch_training
from harness_coreset.scores.scored import ScoredCoreset


@dataclass(frozen=True)
class Forgetting(ScoredCoreset):
    """Number of forgetting events (Toneva et al. 2019, section 3).

    A row is forgotten when it was classified correctly at one look and is not at the next; rows
    never classified correctly score above all others. Other than in the paper, a look is one
    prediction of all rows after each epoch with dropout off, not the row's own turn in a batch,
    and the pre-trained proxy needs a few epochs, not 200, on the pool alone.

    epochs: passes over the pool, at a rate that falls to 0 on a line after a tenth of them.
    """

    epochs: Annotated[int, Ge(2)] = 6

    name: ClassVar[str] = "forgetting"

    def score(self, candidates: Candidates, context: StageContext) -> Mapping[str, np.ndarray]:
        recipe = Recipe(
            steps=self.epochs * math.ceil(len(candidates.rows) / self.batch_size),
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            schedule="linear",
            warmup=0.1,
            evaluations=self.epochs,
        )
        probabilities = watch_training(candidates, self.proxy, recipe, 0, context)
        correct = probabilities.argmax(2) == candidates.labels
        return {
            "scores": forgetting_scores(correct),
            "accuracy": correct[-1].mean(keepdims=True),
        }


def forgetting_scores(correct: np.ndarray) -> np.ndarray:
    """[m] how often a row goes from correct to wrong; `looks` for a row that is never correct.

    Args:
        correct: [looks, m] of booleans, in order of time.
    """
    events = (correct[:-1] & ~correct[1:]).sum(0)
    return np.where(correct.any(0), events, len(correct)).astype(np.float64)
