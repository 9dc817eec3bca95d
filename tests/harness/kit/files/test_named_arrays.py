"""Groups of arrays and rows of unequal lengths come back as they were."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from harness.kit.files.named_arrays import of_ragged, prefixed, ragged, without_prefix


@given(st.lists(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4), max_size=5))
def test_rows_of_any_lengths_come_back(rows: list[list[int]]) -> None:
    arrays = [np.array(row, dtype=np.int32) for row in rows]
    found = of_ragged(ragged(arrays))
    assert [row.tolist() for row in found] == rows
    assert all(row.dtype == np.int32 for row in found)


def test_a_group_holds_its_own_names_only() -> None:
    arrays = {**prefixed("a", {"x": np.ones(1), "b/y": np.zeros(2)}), "ab/x": np.ones(3)}
    assert without_prefix("a", arrays).keys() == {"x", "b/y"}
    assert without_prefix("a/b", arrays).keys() == {"y"}
    assert without_prefix("c", arrays) == {}
