"""Logistic regression on standardised vectors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.data.array_files import serialised
from harness.kit.training.logistic_regression import LinearClassifier, fit_logistic

_FILE = "probe.safetensors"
_LEAST_SPREAD = 1e-6


@dataclass(frozen=True)
class LinearHead:
    """A linear classifier behind a shift and a scale.

    mean, scale: [d] float64, of the training rows' vectors.
    """

    mean: np.ndarray
    scale: np.ndarray
    classifier: LinearClassifier

    @classmethod
    def uniform(cls, classes: int) -> LinearHead:
        """Of no vectors, d = 0: every class is as probable as another."""
        none = LinearClassifier(np.zeros((classes, 0)), np.zeros(classes))
        return cls(np.zeros(0), np.zeros(0), none)

    @classmethod
    def load(cls, folder: Path) -> LinearHead:
        """Reads what `save` wrote."""
        from safetensors.numpy import load_file

        arrays = load_file(folder / _FILE)
        classifier = LinearClassifier(arrays["weight"], arrays["bias"])
        return cls(arrays["mean"], arrays["scale"], classifier)

    def save(self, folder: Path) -> None:
        arrays = {
            "mean": self.mean,
            "scale": self.scale,
            "weight": self.classifier.weight,
            "bias": self.classifier.bias,
        }
        (folder / _FILE).write_bytes(serialised(arrays))

    @property
    def width(self) -> int:
        """d."""
        return self.classifier.weight.shape[1]

    @property
    def parameters(self) -> int:
        return self.classifier.weight.size + self.classifier.bias.size

    def probabilities(self, vectors: np.ndarray) -> np.ndarray:
        """[n, classes] float64, of vectors [n, d]."""
        from scipy.special import softmax

        return softmax(self.classifier.scores((vectors - self.mean) / self.scale), axis=1)


def fit_head(
    vectors: np.ndarray, labels: np.ndarray, weights: np.ndarray, classes: int, penalty: float
) -> LinearHead:
    """Logistic regression on standardised vectors [n, d].

    Minimises sum_i w_i cross-entropy_i + penalty / 2 |weight|^2, the bias free, with the weights
    w scaled to a mean of 1.

    Args:
        labels: [n] classes, or probabilities [n, classes].
        weights: [n], of the rows, not all zero.
    """
    mean = vectors.mean(axis=0, dtype=np.float64)
    scale = np.maximum(vectors.std(axis=0, dtype=np.float64), _LEAST_SPREAD)
    standard = (vectors - mean) / scale
    decay = penalty / len(vectors)
    classifier = fit_logistic(standard, labels, classes, decay, weights=weights)
    return LinearHead(mean, scale, classifier)
