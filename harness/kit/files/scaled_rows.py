"""Rows of floats on disk: float32, or float16 with a scale for each row."""

from __future__ import annotations

import numpy as np


def scaled_rows(values: np.ndarray, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """The rows as stored, little-endian, and what to multiply them with, [n] float32.

    Rows of float16 are scaled by a power of two to the range below 1, so that no row is too small
    or too large for it; rows of float32 have the scale 1.

    Args:
        values: [n, width], NaN and infinity allowed.
    """
    scales = np.ones(len(values), dtype="<f4")
    if dtype == "float16":
        finite = np.where(np.isfinite(values), np.abs(values), 0).max(axis=1)
        scales = np.ldexp(np.float32(1), np.clip(np.frexp(finite)[1], -125, 126)).astype("<f4")
        scales[finite == 0] = 1
    with np.errstate(over="ignore"):
        stored = (values.astype(np.float64) / scales[:, None]).astype(little_endian(dtype))
    return stored, scales


def little_endian(dtype: str) -> np.dtype:
    """The type by name, in the byte order of files."""
    return np.dtype(dtype).newbyteorder("<")
