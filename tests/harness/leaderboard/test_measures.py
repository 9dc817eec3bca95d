"""Measures of distillation against published vectors and slow definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.leaderboard.measures import area_under_curve, label_robust_score

signed = st.floats(-1, 1)


class TestLabelRobustScore:
    @pytest.mark.parametrize(
        ("loss", "gain", "score"),
        [
            (0.30, 0.10, 0.228454),
            (0.50, 0.05, 0.183218),
            (0.05, 0.20, 0.302078),
            (0, 0, 0.268941),
            (1, -1, 0),
            (-1, 1, 1),
        ],
    )
    def test_the_vectors_of_the_formula_on_fractions(
        self, loss: float, gain: float, score: float
    ) -> None:
        assert label_robust_score(loss, gain) == pytest.approx(score, abs=5e-7)

    @given(signed, signed)
    def test_it_lies_between_nought_and_one_and_rises_with_the_gain(
        self, loss: float, gain: float
    ) -> None:
        score = label_robust_score(loss, gain)
        assert -1e-12 <= score <= 1 + 1e-12
        assert score <= label_robust_score(loss, 1.0) + 1e-12

    @pytest.mark.parametrize(("loss", "gain"), [(30, 10), (0.3, -5), (math.nan, 0)])
    def test_a_percent_is_refused(self, loss: float, gain: float) -> None:
        with pytest.raises(ValueError, match="fractions"):
            label_robust_score(loss, gain)


class TestAreaUnderCurve:
    def test_a_flat_curve_has_its_height(self) -> None:
        assert area_under_curve({10: 0.7, 20: 0.7, 100: 0.7}) == pytest.approx(0.7)

    def test_it_is_numpys_trapezoid_over_the_logarithm(self) -> None:
        points = {10.0: 0.5, 20.0: 0.6, 200.0: 0.9}
        x = np.log(list(points))
        expected = np.trapezoid(list(points.values()), x) / (x[-1] - x[0])
        assert area_under_curve(points) == pytest.approx(expected)

    @pytest.mark.parametrize("points", [{}, {10.0: 0.5}, {0.0: 0.5, 10.0: 0.6}])
    def test_too_few_budgets_are_refused(self, points: dict[float, float]) -> None:
        with pytest.raises(ValueError, match="two positive budgets"):
            area_under_curve(points)
