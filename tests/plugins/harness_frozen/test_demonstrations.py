"""Which rows are shown: balanced, by seed, and as many as there is room for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness_frozen.demonstrations import (
    NONE,
    Demonstrations,
    balanced_that_fit,
    draw_by_class,
)

SHOWN = Demonstrations(
    (("a", 'é\u2028"'), ("b", ""), ("c", "d")), (1, 0, 1), ((2, 0, 1), (1, 2, 0))
)


@pytest.mark.parametrize("shown", [SHOWN, NONE], ids=["some", "none"])
def test_read_back_as_written(shown: Demonstrations, tmp_path: Path) -> None:
    shown.save(tmp_path)
    assert Demonstrations.load(tmp_path) == shown
    assert [path.suffix for path in tmp_path.iterdir()] == [".jsonl"]


@given(st.lists(st.integers(0, 3)), st.integers(0, 4), st.integers(0, 9))
def test_drawn_by_class(labels: list[int], shots: int, seed: int) -> None:
    array = np.array(labels, dtype=np.int64)
    drawn, again = (draw_by_class(array, shots, np.random.default_rng(seed)) for _ in range(2))
    assert [rows.tolist() for rows in drawn] == [rows.tolist() for rows in again]
    for label, rows in zip(np.unique(array), drawn, strict=True):
        own = np.flatnonzero(array == label)
        assert len(rows) == (min(shots, len(own)) if shots else len(own))
        assert set(rows) <= set(own)
        assert len(set(rows)) == len(rows)


@given(
    st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=5), min_size=1, max_size=3),
    st.integers(0, 60),
)
def test_as_many_of_each_class_as_fit(tokens: list[list[int]], room: int) -> None:
    """Against the definition: one more of each would not fit, and none is shown out of turn."""
    lengths = np.array([length for of_class in tokens for length in of_class])
    ends = np.cumsum([len(of_class) for of_class in tokens])
    by_class = np.split(np.arange(len(lengths)), ends[:-1])
    kept = balanced_that_fit(by_class, lambda row: int(lengths[row]), room)
    assert sum(lengths[rows].sum() for rows in kept) <= room
    count = max(map(len, kept))
    shortest = sum(min(of_class) for of_class in tokens)
    if sum(of_class[0] for of_class in tokens) <= room:
        assert [rows.tolist() for rows in kept] == [rows[:count].tolist() for rows in by_class]
        longer = [rows[: count + 1] for rows in by_class]
        if any(len(rows) > count for rows in by_class):
            assert sum(lengths[rows].sum() for rows in longer) > room
    elif shortest <= room:
        assert [lengths[rows].tolist() for rows in kept] == [[min(c)] for c in tokens]
    else:
        assert count == 0


def test_rows_that_could_not_be_shown_are_never_measured() -> None:
    asked: list[int] = []

    def length(row: int) -> int:
        asked.append(row)
        return 10

    balanced_that_fit([np.arange(500), np.arange(500, 1000)], length, 45)
    assert asked == [0, 500, 1, 501, 2, 502]
