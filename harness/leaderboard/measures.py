"""Summary measures: DD-Ranking's label-robust score, and the area under a budget curve.

All accuracies are fractions in [0, 1]; a value above 1 in magnitude is taken for a percent and
refused, because the score below passes through an exponential.
"""

from __future__ import annotations

import math
from collections.abc import Mapping


def label_robust_score(loss_to_full: float, gain_over_random: float) -> float:
    """DD-Ranking's label-robust score in [0, 1] (arXiv 2505.13300) with weight 1/2, on fractions.

    (e^a - e^-1) / (e - e^-1) of a = (gain - loss) / 2; 0.2689 where nothing is gained or lost.

    loss_to_full: accuracy of full data minus that of the set, both with hard labels.
    gain_over_random: accuracy of the set minus that of random rows, as many, the same recipe.

    Raises:
        ValueError: an input above 1 in magnitude.
    """
    for value in (loss_to_full, gain_over_random):
        if not abs(value) <= 1:
            raise ValueError(f"differences of fractions lie in [-1, 1], got {value}")
    value = 0.5 * gain_over_random - 0.5 * loss_to_full
    return (math.exp(value) - math.exp(-1)) / (math.e - math.exp(-1))


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
