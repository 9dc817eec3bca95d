"""Measures of distillation: what a set gains over random rows, and what full data has over it.

All accuracies are fractions in [0, 1]; a value above 1 in magnitude is taken for a percent and
refused, because the scores below pass through an exponential.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

MIDDLE = (1 - math.exp(-1)) / (math.e - math.exp(-1))
"""The label-robust score of a set that neither gains over random nor loses to full data."""


def label_robust_score(loss_to_full: float, gain_over_random: float, weight: float = 0.5) -> float:
    """DD-Ranking's label-robust score in [0, 1] (arXiv 2505.13300), on fractions.

    loss_to_full: accuracy of full data minus that of the set, both with hard labels.
    gain_over_random: accuracy of the set minus that of random rows, as many, the same recipe.
    weight: of the gain against the loss.

    Raises:
        ValueError: an input above 1 in magnitude, or a weight outside [0, 1].
    """
    _check_fractions(loss_to_full, gain_over_random)
    if not 0 <= weight <= 1:
        raise ValueError(f"the weight lies in [0, 1], got {weight}")
    return _squash(weight * gain_over_random - (1 - weight) * loss_to_full)


def augmentation_robust_score(gain_with: float, gain_without: float, weight: float = 0.5) -> float:
    """DD-Ranking's augmentation-robust score in [0, 1], on fractions.

    gain_with, gain_without: over random rows, with the method's augmentation and with none.

    Raises:
        ValueError: an input above 1 in magnitude, or a weight outside [0, 1].
    """
    _check_fractions(gain_with, gain_without)
    if not 0 <= weight <= 1:
        raise ValueError(f"the weight lies in [0, 1], got {weight}")
    return _squash(weight * gain_with + (1 - weight) * gain_without)


def area_under_curve(points: Mapping[float, float]) -> float:
    """Mean accuracy over the logarithm of the budget: the trapezoid area divided by its width.

    points: budget in rows -> accuracy.

    Raises:
        ValueError: fewer than two budgets, or one that is not positive.
    """
    budgets = sorted(points)
    if len(budgets) < 2 or budgets[0] <= 0:
        raise ValueError(f"an area needs two positive budgets or more, got {budgets}")
    logs = [math.log(budget) for budget in budgets]
    heights = [points[budget] for budget in budgets]
    area = sum(
        (right - left) * (low + high) / 2
        for left, right, low, high in zip(logs, logs[1:], heights, heights[1:], strict=False)
    )
    return area / (logs[-1] - logs[0])


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Positions of the (cost, accuracy) points that no other beats in both, cheapest first."""
    order = sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1], i))
    front: list[int] = []
    best = -math.inf
    for position in order:
        if points[position][1] > best:
            front.append(position)
            best = points[position][1]
    return front


def _squash(value: float) -> float:
    """(e^value - e^-1) / (e - e^-1): [-1, 1] onto [0, 1]."""
    return (math.exp(value) - math.exp(-1)) / (math.e - math.exp(-1))


def _check_fractions(*values: float) -> None:
    for value in values:
        if not abs(value) <= 1:
            raise ValueError(f"differences of fractions lie in [-1, 1], got {value}")
