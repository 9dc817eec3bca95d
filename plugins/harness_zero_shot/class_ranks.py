"""Classification metrics from class scores: top-1, top-5, and ranks of the right class."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from harness.kit.evaluation import broken_items, named_items, require_classes
from harness.types import Score
from harness_zero_shot.compact import compact

TIE = 1e-10
"""Scores this near count as equal: where a row stands changes the last digits of its products."""
_TOP = 5
_ITEMS = ("score", "prediction", "target", "rank")


def rank_classes(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each row's predicted class, and the rank of its right class, from 1.

    A tie is never in the model's favour: classes that score as high as the right one rank before
    it, and the first of them is what the row is predicted to be.

    Args:
        scores: [n, classes], higher is nearer; labels: [n] right classes.
    """
    rows = np.arange(len(labels))
    own = scores[rows, labels].astype(np.float64)
    others = scores.astype(np.float64)
    others[rows, labels] = -np.inf
    ranks = 1 + np.count_nonzero(others >= own[:, None] - TIE, axis=1)
    return np.where(ranks == 1, labels, others.argmax(axis=1)), ranks


def class_score(scores: np.ndarray, labels: np.ndarray, metric: str) -> Score:
    """Top 1, top 5 and mean recall of classes, with the outcomes they follow from.

    Args:
        scores: [n, classes]; metric: what ranks, if it is measured here; else `top1`.
    """
    predicted, ranks = rank_classes(scores, labels)
    metrics = class_metrics(ranks, labels, scores.shape[1])
    main = metric if metric in metrics else "top1"
    classes = scores.shape[1]
    return Score(
        metrics=metrics,
        main=main,
        items={
            "score": ranks <= (_TOP if main == "top5" else 1),
            "prediction": compact(predicted, classes),
            "target": compact(labels, classes),
            "rank": compact(ranks, classes),
        },
    )


def class_metrics(ranks: np.ndarray, labels: np.ndarray, classes: int) -> dict[str, float]:
    """The metrics by name; `top5` is left out of fewer than five classes.

    The mean recall is over the classes that `labels` has.
    """
    right = ranks == 1
    counts = np.bincount(labels, minlength=classes)
    hits = np.bincount(labels, weights=right, minlength=classes)
    present = counts > 0
    metrics = {
        "top1": float(right.mean()),
        "mean_per_class_recall": float((hits[present] / counts[present]).mean()),
    }
    if classes >= _TOP:
        metrics["top5"] = float((ranks <= _TOP).mean())
    return metrics


def metrics_of_items(items: Mapping[str, np.ndarray], classes: int) -> dict[str, float]:
    """The metrics again, from a record's items alone.

    Raises:
        ContractError: an array is missing, holds a class that the task has not, or contradicts
            another.
    """
    score, predicted, labels, ranks = named_items(items, _ITEMS)
    require_classes(classes, predicted, labels)
    if ranks.min(initial=1) < 1 or ranks.max(initial=1) > classes:
        raise broken_items(f"ranks from 1 to {classes}", f"{ranks.min()} to {ranks.max()}")
    wrong = int(((ranks == 1) != (predicted == labels)).sum())
    if wrong:
        raise broken_items("rank 1 where prediction and target agree", f"{wrong} others")
    if not any(np.array_equal(score, ranks <= top) for top in (1, _TOP)):
        raise broken_items(f"scores that say which ranks are 1, or up to {_TOP}", "others")
    return class_metrics(ranks.astype(np.int64), labels.astype(np.int64), classes)
