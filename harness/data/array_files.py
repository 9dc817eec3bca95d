"""Arrays as safetensors files, whatever their layout in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def serialised(arrays: Mapping[str, np.ndarray], notes: Mapping[str, str] | None = None) -> bytes:
    """The content of a file with these arrays; notes go into its header.

    safetensors writes memory as it lies: of an array with other strides, such as a slice or a
    transpose, it would silently keep other numbers.
    """
    import numpy as np
    from safetensors.numpy import save

    ordered = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    return save(ordered, dict(notes) if notes else None)
