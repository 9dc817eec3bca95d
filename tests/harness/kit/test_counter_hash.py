"""The words are SplitMix64's, and look random."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from harness.kit.counter_hash import random_signs, random_words, stream_key

CPU = torch.device("cpu")
MASK = (1 << 64) - 1


def splitmix64(state: int, count: int) -> list[int]:
    """The published generator, one word after another, in whole numbers of any size."""
    words = []
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & MASK
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        words.append(z ^ (z >> 31))
    return words


def unsigned(words: torch.Tensor) -> list[int]:
    return [word & MASK for word in words.tolist()]


def test_the_known_answers_of_splitmix64() -> None:
    assert unsigned(random_words(1234567, torch.arange(5))) == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


@given(st.integers(-(1 << 63), (1 << 63) - 1), st.integers(1, 40))
def test_the_words_of_any_key(key: int, count: int) -> None:
    assert unsigned(random_words(key, torch.arange(count))) == splitmix64(key & MASK, count)


@given(st.integers(0, 1 << 40), st.integers(1, 50))
def test_a_word_depends_on_its_counter_and_not_on_its_neighbours(start: int, count: int) -> None:
    counters = torch.arange(start, start + count)
    together = random_words(7, counters)
    assert [int(random_words(7, c.reshape(1, 1))) for c in counters] == together.tolist()


def test_names_of_streams_are_not_run_together() -> None:
    keys = [stream_key("a", 1), stream_key("a", "1"), stream_key("a1"), stream_key("a", 1, "")]
    assert len(set(keys)) == 4
    assert all(-(1 << 63) <= key < 1 << 63 for key in keys)
    assert stream_key("a", 1) == keys[0]


@pytest.mark.parametrize("key", [0, 1, 2, stream_key("some", 3)])
def test_all_bits_and_octets_are_fair(key: int) -> None:
    words = random_words(key, torch.arange(40_000)).numpy().view(np.uint8)
    counts = np.bincount(words, minlength=256)
    assert chisquare(counts).pvalue > 1e-4
    bits = np.unpackbits(words.reshape(-1, 8), axis=1).mean(0)
    assert np.abs(bits - 0.5).max() < 5 * 0.5 / 200


def test_signs_are_the_sign_bits_in_any_cut() -> None:
    signs = random_signs(5, 3, 100, CPU, torch.float64)
    parts = [random_signs(5, a, b, CPU, torch.float64) for a, b in ((3, 50), (50, 51), (51, 100))]
    assert torch.equal(torch.cat(parts), signs)
    expected = [-1.0 if word >> 63 else 1.0 for word in splitmix64(5, 100)[3:]]
    assert signs.tolist() == expected
