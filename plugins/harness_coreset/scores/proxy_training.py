"""Short training runs of a proxy on the candidates, with predictions from time to time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from harness.context import StageContext
from harness.kit.embedding import MAX_LENGTH, proxy_student
from harness.kit.text.classifier_training import train_classifier
from harness.types import Recipe
from harness_coreset.coreset import Candidates


def watch_training(
    candidates: Candidates, proxy: str, recipe: Recipe, run: int, context: StageContext
) -> np.ndarray:
    """The proxy's probabilities for all candidates at `recipe.evaluations` moments.

    The moments are evenly spaced over the updates, the last one included; dropout is off while
    it predicts. `run` names an independent head, order of batches and dropout.

    Returns:
        [evaluations, m, classes].
    """
    own = replace(context, seed=context.seed_for("proxy run", run))
    task = candidates.task
    classifier = proxy_student(proxy, context).build(task, own, max_length=MAX_LENGTH)
    encoded = classifier.encode(task.train.select(candidates.rows), own)
    seen: list[np.ndarray] = []

    def watch() -> float:
        """Looks at the model; the number of looks so far says that the latest one is the best."""
        seen.append(classifier.predict_encoded(encoded, own))
        return float(len(seen))

    train_classifier(
        classifier,
        encoded,
        np.eye(len(task.label_names))[candidates.labels],
        np.ones(len(candidates.rows)),
        replace(recipe, checkpoint="validation", max_length=MAX_LENGTH),
        own,
        validation=watch,
    )
    return np.stack(seen)
