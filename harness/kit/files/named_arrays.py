"""Naming of arrays in one file: groups by prefix, and rows of unequal lengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


def prefixed(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays with `prefix/` before their names."""
    return {f"{prefix}/{name}": array for name, array in arrays.items()}


def without_prefix(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Those arrays whose names begin with `prefix/`, without it."""
    start = f"{prefix}/"
    return {n.removeprefix(start): array for n, array in arrays.items() if n.startswith(start)}


def ragged(rows: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Rows [length] of one type, one after the other, and their lengths."""
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    values = np.concatenate(rows) if len(rows) else np.empty(0, dtype=np.int64)
    return {"values": values, "lengths": lengths}


def of_ragged(arrays: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
    """What `ragged` took apart."""
    if not len(arrays["lengths"]):
        return ()
    return tuple(np.split(arrays["values"], np.cumsum(arrays["lengths"])[:-1]))
