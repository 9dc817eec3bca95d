"""What holds for any item scores: totals, symmetry, and the order of the items named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.comparison.items import RunPairs, compare_items
from harness.records.record import PackedArray

SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 2), st.integers(1, 12))
"""Distilling seeds, fitting seeds of each, items."""
Outcomes = tuple[tuple[int, int, int], np.ndarray]


@st.composite
def outcomes(draw: st.DrawFn) -> Outcomes:
    shape = draw(SHAPES)
    size = 2 * shape[0] * shape[1] * shape[2]
    bits = draw(st.lists(st.booleans(), min_size=size, max_size=size))
    return shape, np.array(bits, dtype=np.uint8).reshape(2, shape[0] * shape[1], shape[2])


def pairs(make_record: Any, shape: tuple[int, int, int], scores: np.ndarray) -> RunPairs:
    runs = [(d, f) for d in range(shape[0]) for f in range(shape[1])]
    sides = [
        [
            make_record(distill_seed=d, fit_seed=f, items={"score": PackedArray.pack(row)})
            for (d, f), row in zip(runs, side, strict=True)
        ]
        for side in scores
    ]
    return list(zip(*sides, strict=True))


@settings(max_examples=25)
@given(given_outcomes=outcomes())
def test_totals_and_symmetry(make_record: Any, given_outcomes: Outcomes) -> None:
    shape, scores = given_outcomes
    found = compare_items(pairs(make_record, shape, scores), 100)
    turned = compare_items(pairs(make_record, shape, scores[::-1]), 100)
    assert found.counts is not None
    assert turned.counts is not None
    counts = found.counts
    assert counts.both + counts.only_first + counts.only_second + counts.neither == (scores[0].size)
    assert (counts.only_first, counts.only_second) == (
        turned.counts.only_second,
        turned.counts.only_first,
    )
    assert found.difference == pytest.approx(-turned.difference)
    assert found.difference == pytest.approx(
        (counts.only_first - counts.only_second) / scores[0].size
    )
    assert [i.position for i in found.most_first] == [i.position for i in turned.most_second]
    assert found.always_first <= len(found.most_first)
    assert (found.bootstrap is None) == (shape[0] == 1)


@settings(max_examples=25)
@given(given_outcomes=outcomes())
def test_items_named_lead_in_falling_order(make_record: Any, given_outcomes: Outcomes) -> None:
    shape, scores = given_outcomes
    found = compare_items(pairs(make_record, shape, scores), 3).most_first
    leads = [item.first - item.second for item in found]
    assert leads == sorted(leads, reverse=True)
    assert all(lead > 0 for lead in leads)
    assert len(found) <= 3
