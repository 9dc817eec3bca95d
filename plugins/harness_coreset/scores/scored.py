"""The base of scored coresets: train proxies, keep the hardest or the easiest rows."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import ClassVar, Literal

import numpy as np

from harness.context import StageContext
from harness.errors import UsageError
from harness.fingerprint import digest
from harness.kit.embedding import proxy_inputs
from harness.options import Count, Natural, Positive
from harness_coreset.coreset import Candidates, Choice, Coreset

_AFTER_SCORING = {"balanced", "keep", "pool", "proxy"}


@dataclass(frozen=True)
class ScoredCoreset(Coreset):
    """The rows that a proxy finds hardest, or easiest, while it trains on the pool.

    Scoring costs training, so the pool is 2,000 rows unless set otherwise; 0 means all of train.
    Scores are computed once for a seed and shared by all budgets.

    keep: the rows with the highest scores (`hard`, as in the papers) or with the lowest; rows
    of equal score are taken in random order.
    learning_rate, batch_size: of the proxy's training.
    """

    pool: Natural = 2000
    keep: Literal["hard", "easy"] = "hard"
    learning_rate: Positive = 1e-4
    batch_size: Count = 32

    name: ClassVar[str]

    def choose(self, candidates: Candidates, context: StageContext) -> Choice:
        """Scores the candidates and takes the extreme ones of each group.

        Raises:
            UsageError: the task has no classes that a proxy could be trained on.
        """
        if not candidates.task.label_names:
            raise UsageError(
                f"{self.name} trains a classifier, and task '{candidates.task.name}' has no classes"
            )
        inputs = {
            **proxy_inputs(candidates.task, self.proxy, context),
            "rows": digest(candidates.rows.tolist()),
            "seed": context.seed,
            "scoring": {k: v for k, v in asdict(self).items() if k not in _AFTER_SCORING},
        }
        scored = context.cache.arrays(self.name, inputs, lambda: self.score(candidates, context))
        scores = scored["scores"]
        signed = scores if self.keep == "hard" else -scores
        generator = context.numpy_generator("ties")
        positions = np.concatenate(
            [
                group.members[highest(signed[group.members], group.quota, generator)]
                for group in candidates.groups
            ]
        )
        report = {
            "mean_score": float(scores.mean()),
            "mean_score_chosen": float(scores[positions].mean()),
            "proxy_accuracy": float(scored["accuracy"][0]),
        }
        return Choice(positions, report)

    @abstractmethod
    def score(self, candidates: Candidates, context: StageContext) -> Mapping[str, np.ndarray]:
        """`scores` [m], higher is harder, and `accuracy` [1], the proxy's on the candidates."""


def highest(scores: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """Positions of the `count` highest scores, highest first, equal ones in random order."""
    return np.lexsort((generator.permutation(len(scores)), -scores))[:count]
