"""EL2N: the error norm of each row under proxies trained for a while."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from harness.context import StageContext
from harness.options import Count
from harness.types import Recipe
from harness_coreset.coreset import Candidates
from harness_coreset.scores.proxy_training import watch_training
from harness_coreset.scores.scored import ScoredCoreset


@dataclass(frozen=True)
class EL2N(ScoredCoreset):
    """Error L2-norm early in training (Paul, Ganguli and Dziugaite 2021, definition 2.2).

    The score of a row is the mean over `runs` proxies of || p(x) - onehot(y) || after `steps`
    updates. Other than in the paper, the proxy is pre-trained, so "early" is a matter of tens
    of updates and not of ten epochs; it sees only the pool; and 3 runs are averaged, not 10.

    runs: proxies, which differ in head, order of batches and dropout.
    steps: updates before the errors are taken, at a rate that stays high after a tenth of them.
    """

    runs: Count = 3
    steps: Count = 60

    name: ClassVar[str] = "el2n"

    def score(self, candidates: Candidates, context: StageContext) -> Mapping[str, np.ndarray]:
        recipe = Recipe(
            steps=self.steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            schedule="constant",
            warmup=0.1,
            evaluations=1,
        )
        runs = context.track(range(self.runs), "proxy runs", total=self.runs)
        probabilities = np.concatenate(
            [watch_training(candidates, self.proxy, recipe, run, context) for run in runs]
        )
        correct = probabilities.argmax(2) == candidates.labels
        return {
            "scores": el2n_scores(probabilities, candidates.labels),
            "accuracy": correct.mean(keepdims=True)[0],
        }


def el2n_scores(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """[m] mean over runs of the length of p - onehot(label), in [0, sqrt(2)].

    Args:
        probabilities: [runs, m, classes].
        labels: [m].
    """
    errors = probabilities.astype(np.float64)
    errors[:, np.arange(len(labels)), labels] -= 1.0
    return np.linalg.norm(errors, axis=2).mean(0)
