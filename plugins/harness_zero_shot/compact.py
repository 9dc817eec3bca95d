"""Integers in the narrowest type that a record keeps."""

from __future__ import annotations

import numpy as np


def compact(values: np.ndarray, highest: int) -> np.ndarray:
    """The values, none above `highest`, as uint8, uint16 or int32."""
    kinds = (np.uint8, np.uint16, np.int32)
    return values.astype(next(kind for kind in kinds if highest <= np.iinfo(kind).max))
