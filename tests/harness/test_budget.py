"""Budgets: parsing, totals, and shares among classes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.budget import Budget
from harness.errors import UsageError

counts = st.lists(st.integers(0, 50), min_size=1, max_size=6).filter(lambda c: sum(c) > 0)


@pytest.mark.parametrize(
    ("text", "shown"),
    [("20/class", "20/class"), (" 200 rows", "200rows"), ("1%", "1%"), ("0.5%", "0.5%")],
)
def test_reads_an_amount_with_a_unit(text: str, shown: str) -> None:
    assert str(Budget.parse(text)) == shown


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("0/class", "positive"),
        ("-5rows", "positive"),
        ("5bananas", "unknown unit 'bananas'"),
        ("20", "no unit"),
        ("", "amount"),
        ("many", "amount"),
        ("2.5/class", "whole"),
        ("101%", "more than the whole"),
    ],
)
def test_refuses_anything_else_and_says_why(text: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        Budget.parse(text)


def test_a_budget_larger_than_train_is_refused() -> None:
    with pytest.raises(UsageError, match="more than the 5 rows"):
        Budget.parse("6rows").total([2, 3])
    with pytest.raises(UsageError, match="2 train rows of class 0"):
        Budget.parse("3/class").total([2, 3])


def test_where_there_are_no_classes_none_can_have_a_share() -> None:
    assert Budget.parse("10%").rows_of(50) == 5
    assert Budget.parse("7rows").rows_of(50) == 7
    with pytest.raises(UsageError, match="20/class counts rows of each class"):
        Budget.parse("20/class").rows_of(50)
    with pytest.raises(UsageError, match="7rows cannot be shared among classes"):
        Budget.parse("7rows").per_class([])


@given(counts, st.floats(0.01, 100))
def test_a_percentage_is_never_exceeded_and_never_empty(class_counts: list[int], p: float) -> None:
    total = Budget("percent", p).total(class_counts)
    assert 1 <= total <= max(1, sum(class_counts) * p / 100 + 1e-6)


@given(counts, st.data())
def test_shares_add_up_and_no_class_gives_more_than_it_has(
    class_counts: list[int], data: st.DataObject
) -> None:
    rows = data.draw(st.integers(1, sum(class_counts)))
    shares = Budget("rows", rows).per_class(class_counts)
    assert sum(shares) == rows
    assert all(0 <= share <= count for share, count in zip(shares, class_counts, strict=True))


@given(counts, st.data())
def test_shares_are_as_even_as_the_classes_allow(
    class_counts: list[int], data: st.DataObject
) -> None:
    rows = data.draw(st.integers(1, sum(class_counts)))
    shares = Budget("rows", rows).per_class(class_counts)
    unfilled = [s for s, c in zip(shares, class_counts, strict=True) if s < c]
    assert all(share <= min(unfilled) + 1 for share in shares) if unfilled else True
