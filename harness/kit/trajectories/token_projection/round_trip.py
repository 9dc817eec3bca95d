"""How many of a row's tokens are others after they were text."""

from __future__ import annotations

from collections.abc import Sequence


def token_drift(before: Sequence[int], after: Sequence[int]) -> float:
    """The share of a row's tokens that changed: 1 - common / longer; 0 for two empty rows.

    common: the length of the longest common subsequence; longer: the longer row's length.
    """
    longer = max(len(before), len(after))
    return 1 - common_subsequence(before, after) / longer if longer else 0.0


def common_subsequence(one: Sequence[int], other: Sequence[int]) -> int:
    """The length of the longest common subsequence, by bits of one integer a row.

    Hyyrö, "Bit-parallel LCS-length computation revisited", AWOCA 2004, algorithm 3: a zero bit
    of the row is a place of `one` where the length grows by one.
    """
    places: dict[int, int] = {}
    for place, token in enumerate(one):
        places[token] = places.get(token, 0) | 1 << place
    ones = (1 << len(one)) - 1
    row = ones
    for token in other:
        matched = row & places.get(token, 0)
        row = ((row + matched) | (row - matched)) & ones
    return len(one) - row.bit_count()
