"""Bounds of options stand in their types: what is refused, and the words for it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Interval, Le

from harness.errors import UsageError
from harness.options import (
    Count,
    FinitePositive,
    HeldOutShare,
    Natural,
    NonNegative,
    Positive,
    PositiveShare,
    Share,
    ShareBelowOne,
    Weight,
    convert,
    option_type,
    require_fields,
)

ABOVE_ONE = math.nextafter(1.0, 2.0)
BELOW_ONE = math.nextafter(1.0, 0.0)
LEAST = 5e-324


@pytest.mark.parametrize(
    ("annotation", "taken", "refused"),
    [
        (Count, [1, 2**70, "12", 3.0], [0, -1, "0", 1.5, math.nan, math.inf]),
        (Natural, [0, 7], [-1, -0.5]),
        (Share, [0, LEAST, 1, "0.5"], [-LEAST, ABOVE_ONE, math.inf, math.nan, "nan"]),
        (PositiveShare, [LEAST, 1], [0, -0.0, ABOVE_ONE, math.nan]),
        (ShareBelowOne, [0, BELOW_ONE], [-LEAST, 1, math.nan]),
        (HeldOutShare, [LEAST, 0.49], [0, 0.5, math.nan]),
        (Positive, [LEAST, math.inf], [0, -1, -math.inf, math.nan]),
        (NonNegative, [0, math.inf], [-LEAST, -math.inf, math.nan]),
        (FinitePositive, [LEAST, 1e308], [0, math.inf, math.nan]),
        (Weight, [0, 1e308], [-LEAST, math.inf, "inf", math.nan]),
        (tuple[Count, ...], ["1, 2", [3], ()], ["1,0", [-1], 1]),
        (Natural | None, [None, 0], [-1]),
    ],
)
def test_what_lies_out_of_bounds_is_refused_and_nothing_else(
    annotation: Any, taken: list[Any], refused: list[Any]
) -> None:
    for value in taken:
        convert(value, annotation, where="it")
    for value in refused:
        with pytest.raises(UsageError):
            convert(value, annotation, where="it")


def test_a_whole_number_for_a_bounded_number_becomes_one_as_without_bounds() -> None:
    for annotation in (float, Share, Annotated[float, Ge(0)]):
        value = convert(1, annotation, where="it")
        assert (value, type(value)) == (1.0, float)


@pytest.mark.parametrize(
    ("annotation", "value", "message"),
    [
        (Count, 0, "it = 0: should be a whole number, at least 1"),
        (Count, "many", "it = 'many': should be a whole number, at least 1"),
        (Weight, math.nan, "it = nan: should be a number, at least 0 and finite"),
        (HeldOutShare, 0.5, "it = 0.5: should be a number, above 0 and below 0.5"),
        (bool, "perhaps", "it = 'perhaps': should be yes or no"),
        (Literal["a", "b", ""], "c", "it = 'c': should be a, b or empty"),
        (tuple[Count, ...], "1,0", "it = '1,0': should be a list of whole numbers, at least 1"),
        (tuple[str, ...] | str, 3, "it = 3: should be a list of texts or text"),
        (Natural | None, -1, "it = -1: should be a whole number or none, at least 0"),
        (dict[str, int], 3, "it = 3: should be dict[str, int]"),
    ],
)
def test_one_message_says_what_where_and_what_is_allowed(
    annotation: Any, value: Any, message: str
) -> None:
    with pytest.raises(UsageError) as refused:
        convert(value, annotation, where="it")
    assert refused.value.message == message


def test_a_plugins_own_bounds_are_read_like_the_hosts() -> None:
    assert option_type(Annotated[int, Interval(ge=8, le=512)]).bound == "at least 8 and at most 512"
    assert option_type(Annotated[Count, Le(1000)]).bound == "at least 1 and at most 1000"


def test_the_fields_of_a_built_instance_are_checked_on_request() -> None:
    @dataclass
    class Recipe:
        steps: int = 1
        rate: Positive = 0.5

    require_fields(Recipe(), where="recipe")
    with pytest.raises(UsageError, match=r"recipe\.rate = 0\.0: should be a number, above 0"):
        require_fields(Recipe(rate=0.0), where="recipe")
