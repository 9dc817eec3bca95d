"""What the options of `bench` mean."""

from __future__ import annotations

import pytest

from harness.cli.running import _parse_seeds


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("", []),
        ("3", [3]),
        ("0,1,2", [0, 1, 2]),
        ("0-4", [0, 1, 2, 3, 4]),
        ("7, 0-2", [7, 0, 1, 2]),
    ],
)
def test_seeds_are_a_list_of_numbers_and_ranges(text: str, seeds: list[int]) -> None:
    assert _parse_seeds(text) == seeds
