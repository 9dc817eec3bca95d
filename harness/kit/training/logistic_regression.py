"""Multinomial logistic regression, and its weight decay chosen on validation rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from torch.nn import functional

GRID = np.logspace(-6, 2, 97)
"""Weight decays to choose from, those of CLIP_benchmark: twelve to each factor of ten."""
MOST_FITS = 15
_COARSE = 16
_GRADIENT_TOLERANCE = 1e-6
_ITERATIONS = 1000
_MEMORY = 10


@dataclass(frozen=True)
class LinearClassifier:
    """weight: [classes, width] and bias: [classes], float64."""

    weight: np.ndarray
    bias: np.ndarray

    def scores(self, features: np.ndarray) -> np.ndarray:
        """[n, classes] float64 logits."""
        return features.astype(np.float64) @ self.weight.T + self.bias


def fit_logistic(
    features: np.ndarray,
    labels: np.ndarray,
    classes: int,
    weight_decay: float,
    device: str = "cpu",
    start: LinearClassifier | None = None,
    weights: np.ndarray | None = None,
) -> LinearClassifier:
    """Minimises the mean cross-entropy + weight_decay / 2 * |weight|^2; the bias is free.

    By scipy's L-BFGS, which scikit-learn's logistic regression uses too, with the products on
    `device`: in float64 on a CPU, in float32 elsewhere. Convex, so `start` (by default zero)
    changes only how long it takes.

    Args:
        features: [n, width] float32.
        labels: [n] in [0, classes), or probabilities [n, classes].
        weights: [n] of the rows in the mean, all the same by default.
    """
    dtype = torch.float64 if torch.device(device).type == "cpu" else torch.float32
    on_device = torch.from_numpy(features).to(device, dtype)
    hard = labels.ndim == 1
    targets = torch.from_numpy(labels.astype(np.int64 if hard else np.float64)).to(device)
    targets = targets if hard else targets.to(dtype)
    shares = None if weights is None else torch.from_numpy(weights / weights.sum()).to(on_device)
    shape = (classes, features.shape[1] + 1)

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        both = torch.from_numpy(flat.reshape(shape)).to(on_device).requires_grad_()
        weight, bias = both[:, :-1], both[:, -1]
        scores = functional.linear(on_device, weight, bias)
        if shares is None:
            value = functional.cross_entropy(scores, targets)
        else:
            value = functional.cross_entropy(scores, targets, reduction="none") @ shares
        value = value + weight_decay / 2 * weight.square().sum()
        value.backward()
        assert both.grad is not None
        return float(value.detach()), both.grad.cpu().numpy().astype(np.float64).ravel()

    begin = np.zeros(shape) if start is None else np.column_stack([start.weight, start.bias])
    found = minimize(
        loss, begin.ravel(), jac=True, method="L-BFGS-B",
        options={"maxiter": _ITERATIONS, "gtol": _GRADIENT_TOLERANCE, "maxcor": _MEMORY},
    ).x.reshape(shape)  # fmt: skip
    return LinearClassifier(found[:, :-1], found[:, -1])


def choose_weight_decay(
    fit: Callable[[float, LinearClassifier | None], LinearClassifier],
    quality: Callable[[LinearClassifier], tuple[float, ...]],
) -> tuple[float, LinearClassifier]:
    """The weight decay of `GRID` with the best classifier, from coarse to fine.

    Seven of its values first, then around the best so far at steps of 8, 4, 2 and 1. Of equal
    ones the larger decay is kept. At most `MOST_FITS` fits in place of 97.

    Args:
        fit: a classifier for a weight decay, perhaps started from another one.
        quality: of a classifier on validation, higher is better.
    """
    tried: dict[int, tuple[tuple[float, ...], LinearClassifier]] = {}

    def attempt(place: int) -> None:
        if place not in tried and 0 <= place < len(GRID):
            nearest = min(tried, key=lambda known: abs(known - place), default=None)
            made = fit(float(GRID[place]), None if nearest is None else tried[nearest][1])
            tried[place] = quality(made), made

    def best() -> int:
        return max(tried, key=lambda place: (tried[place][0], place))

    for place in reversed(range(0, len(GRID), _COARSE)):
        attempt(place)
    step = _COARSE // 2
    while step:
        peak = best()
        attempt(peak - step)
        attempt(peak + step)
        step //= 2
    return float(GRID[best()]), tried[best()][1]
