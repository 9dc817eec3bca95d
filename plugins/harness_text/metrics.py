"""Metrics of classification: accuracy, F1, and GLUE's mean of the two."""

from __future__ import annotations

import numpy as np


def classification_metrics(
    predicted: np.ndarray, labels: np.ndarray, classes: int
) -> dict[str, float]:
    """Fractions in [0, 1] by name.

    Always `accuracy` and `macro_f1`, the unweighted mean of F1 over all classes. With two
    classes also `f1`, of class 1, and `accuracy_f1`, the mean of accuracy and f1 that GLUE
    (Wang et al. 2019) reports for QQP. A class that is neither predicted nor present has F1 0.

    Args:
        predicted, labels: [n] class numbers.
    """
    from sklearn.metrics import f1_score

    every = np.arange(classes)
    f1 = f1_score(labels, predicted, labels=every, average=None, zero_division=0.0)
    accuracy = float(np.mean(predicted == labels))
    metrics = {"accuracy": accuracy, "macro_f1": float(np.mean(f1))}
    if classes == 2:
        metrics |= {"f1": float(f1[1]), "accuracy_f1": (accuracy + float(f1[1])) / 2}
    return metrics
