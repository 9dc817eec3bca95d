"""Learning curves keep the shape of what was measured in a few points."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.context import StageContext
from harness.records.curves import POINTS, Curve, named

finite = st.floats(-1e6, 1e6)


def test_a_short_curve_is_kept_point_by_point() -> None:
    assert Curve.thin([3.0, 2.0, 1.5]) == Curve((1, 2, 3), (3.0, 2.0, 1.5))


def test_a_long_curve_holds_the_means_of_its_spans() -> None:
    values = np.arange(400.0)
    curve = Curve.thin(values, points=4)
    assert curve.steps == (100, 200, 300, 400)
    assert curve.values == pytest.approx([49.5, 149.5, 249.5, 349.5])


@given(st.lists(finite, min_size=1, max_size=200))
def test_a_curve_ends_at_the_last_step_and_stays_within_the_values(values: list[float]) -> None:
    curve = Curve.thin(values)
    assert curve.steps[-1] == len(values)
    assert list(curve.steps) == sorted(set(curve.steps))
    assert len(curve.values) == len(curve.steps) == min(len(values), POINTS)
    slack = 1e-4 * max(map(abs, values)) + 1e-9
    assert min(values) - slack <= min(curve.values)
    assert max(curve.values) <= max(values) + slack


def test_values_that_are_not_finite_are_left_out() -> None:
    curve = Curve.thin([1.0, math.nan, math.inf, 2.0], points=2)
    assert curve == Curve((2, 4), (1.0, 2.0))


@pytest.mark.parametrize("values", [[], [[1.0]]])
def test_a_curve_needs_values(values: list[float]) -> None:
    with pytest.raises(ValueError, match="list of values"):
        Curve.thin(values)


def test_a_context_keeps_the_last_curve_of_a_name_and_nothing_of_an_empty_one() -> None:
    context = StageContext(0, Path())
    context.keep_curve("loss", [2.0, 1.0])
    context.keep_curve("loss", [1.0])
    context.keep_curve("nothing", [])
    assert context.curves == {"loss": Curve((1,), (1.0,))}


def test_names_say_which_stage_measured() -> None:
    curve = Curve((1,), (1.0,))
    assert named("fit", {"loss": curve}) == {"fit: loss": curve}
