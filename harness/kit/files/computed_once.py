"""Arrays of a long phase, computed once and kept as safetensors in a stage's folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from harness.data.array_files import serialised


def computed_once(
    path: Path, compute: Callable[[], Mapping[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """The arrays at `path`, computed and written first if the file is not there.

    The file appears whole or not at all.
    """
    from safetensors.numpy import load_file

    if not path.exists():
        write_arrays(path, compute())
    return load_file(path)


def write_arrays(
    path: Path, arrays: Mapping[str, np.ndarray], notes: Mapping[str, str] | None = None
) -> None:
    """Writes or replaces a file of arrays: whole or not at all. notes: go into its header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    with partial.open("wb") as file:
        file.write(serialised(arrays, notes))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
