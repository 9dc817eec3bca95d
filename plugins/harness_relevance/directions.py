"""Unit vectors for cosines; zero vectors of the target left out."""

from __future__ import annotations

import numpy as np

from harness.errors import HarnessError


def directions(vectors: np.ndarray) -> np.ndarray:
    """[n, d] the vectors at length 1; NaN for one that is zero or not finite."""
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    fine = np.isfinite(lengths) & (lengths > 0)
    return np.where(fine, vectors / np.where(fine, lengths, 1.0), np.nan).astype(np.float32)


def has_direction(units: np.ndarray) -> np.ndarray:
    """[n] which lines of `directions` are numbers."""
    return np.isfinite(units).all(1)


def target_directions(vectors: np.ndarray) -> np.ndarray:
    """`directions` of the target's vectors.

    Raises:
        HarnessError: not one of them has a direction.
    """
    units = directions(vectors)
    if not has_direction(units).any():
        raise HarnessError(
            "the proxy gives every target row a vector that is zero or not finite",
            hint="Its weights overflow on these texts; choose another proxy.",
        )
    return units
