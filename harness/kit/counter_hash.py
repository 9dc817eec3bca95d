"""Counter-based random bits: a function of key and counter, the same on every device.

The bits are those of SplitMix64 (Steele, Lea and Flood 2014, "Fast Splittable Pseudorandom Number
Generators"), entered at any place: word i of the stream of a key.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from harness.fingerprint import canonical_json

_GAMMA = 0x9E3779B97F4A7C15
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB


def stream_key(*names: str | int) -> int:
    """A key, signed 64 bits, from whatever names a stream; different names, unrelated streams."""
    state = hashlib.sha256(canonical_json(list(names)).encode())
    return _signed(int.from_bytes(state.digest()[:8], "big"))


def random_words(key: int, counters: Tensor) -> Tensor:
    """64 random bits for every counter, int64 of the same shape; counters: int64, from 0."""
    words = (counters + 1) * _signed(_GAMMA) + key
    words = (words ^ _shifted(words, 30)) * _signed(_FIRST)
    words = (words ^ _shifted(words, 27)) * _signed(_SECOND)
    return words ^ _shifted(words, 31)


def random_signs(
    key: int, start: int, stop: int, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """[stop - start] of -1 or 1, for the counters from `start` to `stop`."""
    words = random_words(key, torch.arange(start, stop, device=device))
    return torch.where(words < 0, -1, 1).to(dtype)


def _shifted(words: Tensor, bits: int) -> Tensor:
    """Logical shift to the right: int64 alone would repeat the sign."""
    return (words >> bits) & ((1 << (64 - bits)) - 1)


def _signed(value: int) -> int:
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value
