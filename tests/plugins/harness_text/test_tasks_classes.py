"""Label columns as users have them become class numbers in an order that can be foreseen."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness_text.classes import Classes, label_texts


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (["pos", "neg", "pos"], ("neg", "pos")),
        ([10, 9, 1], ("1", "9", "10")),
        (["10", "9", "1"], ("1", "9", "10")),
        ([True, False], ("false", "true")),
        ([1.0, 2, 4.5], ("1", "2", "4.5")),
        ([" b ", "a"], ("a", "b")),
        ([-1, 1], ("-1", "1")),
    ],
)
def test_classes_are_sorted_as_numbers_or_as_text(values: list, names: tuple[str, ...]) -> None:
    assert Classes.of(label_texts(values, "rows")).names == names


@given(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1).map(lambda v: [*v, "a", "b"]))
def test_a_class_number_leads_back_to_its_value(values: list[str]) -> None:
    classes = Classes.of(values)
    numbers = classes.encode(values, "rows")
    assert numbers.dtype == np.int64
    assert [classes.values[n] for n in numbers] == values


def test_names_can_be_given_in_the_order_of_the_values() -> None:
    classes = Classes.of(["2", "1"], ["one", "two"])
    assert dict(zip(classes.values, classes.names, strict=True)) == {"1": "one", "2": "two"}


@pytest.mark.parametrize(
    ("values", "row"),
    [(["a", None], 2), (["a", "b", "  "], 3), ([1.5, math.nan], 2), ([["a"], "b"], 1)],
)
def test_a_row_without_a_label_is_named(values: list, row: int) -> None:
    with pytest.raises(UsageError, match=f"row {row} of rows has"):
        label_texts(values, "rows")


def test_a_label_that_is_none_of_the_classes_is_named() -> None:
    with pytest.raises(UsageError, match=r"row 2 of the test rows has the label 'c'") as error:
        Classes.of(["a", "b"]).encode(["a", "c"], "the test rows")
    assert "a, b" in error.value.hint


@pytest.mark.parametrize(
    ("values", "names", "message"),
    [
        (("a",), ("a",), "one class only, 'a'"),
        (("a", "a"), ("a", "b"), "named twice"),
        (("a", "b"), ("x", "y", "z"), "3 label names for 2 classes"),
    ],
)
def test_classes_that_make_no_sense_are_refused(
    values: tuple[str, ...], names: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        Classes(values, names)
