"""Resume points: the state of a long phase, written every few minutes and read after a kill."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harness.fingerprint import digest
from harness.kit.files.computed_once import computed_once, write_arrays

INTERVAL = 120.0
"""Seconds between two writes: what a kill may cost."""

_OWNER, _CHECKSUM = "owner", "checksum"


class ResumePoint:
    """One file of a stage's folder; every write replaces the one before it, whole or not at all.

    A file that was written for other inputs, or that is damaged, is never read: the phase then
    begins anew, and its first write replaces that file.

    Args:
        inputs: everything that can change the phase's result, in JSON values.
        seconds: between two writes.
    """

    def __init__(self, path: Path, inputs: Mapping[str, Any], seconds: float = INTERVAL) -> None:
        self._path = path
        self._inputs = dict(inputs)
        self._owner = digest(self._inputs)
        self._seconds = seconds
        self._written = time.monotonic()

    def beside(self, name: str) -> ResumePoint:
        """One more file of the same phase, such as something that it needs again and again."""
        return ResumePoint(self._path.with_suffix(f".{name}.safetensors"), self._inputs)

    def read(self) -> dict[str, np.ndarray]:
        """What was written last; nothing when there is nothing that can be used."""
        from safetensors import SafetensorError, safe_open

        self._drop_partial_files()
        if not self._path.exists():
            return {}
        try:
            with safe_open(self._path, framework="numpy") as file:
                notes = file.metadata() or {}
                if notes.get(_OWNER) != self._owner:
                    return {}
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except SafetensorError:
            return {}
        return arrays if notes.get(_CHECKSUM) == _checksum(arrays) else {}

    def due(self) -> bool:
        """Whether the last write, or the beginning, is long enough ago."""
        return time.monotonic() - self._written >= self._seconds

    def write(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Keeps these arrays in place of those written before."""
        notes = {_OWNER: self._owner, _CHECKSUM: _checksum(arrays)}
        write_arrays(self._path, arrays, notes)
        self._written = time.monotonic()

    def drop(self) -> None:
        """Leaves no file behind, and none beside it."""
        self._path.unlink(missing_ok=True)
        for file in self._path.parent.glob(f"{self._path.stem}.*"):
            file.unlink()

    def _drop_partial_files(self) -> None:
        """A stage's folder is worked in by one process, so these are of one that was killed."""
        for partial in self._path.parent.glob(f"{self._path.stem}.*.partial"):
            partial.unlink()


def computed_in_steps(
    path: Path,
    inputs: Mapping[str, Any],
    compute: Callable[[ResumePoint], Mapping[str, np.ndarray]],
) -> dict[str, np.ndarray]:
    """`computed_once`, with a resume point beside the file until the result is there.

    Args:
        inputs: see `ResumePoint`; compute: reads the resume point, goes on there and writes to it.
    """
    point = ResumePoint(path.with_suffix(".checkpoint.safetensors"), inputs)
    arrays = computed_once(path, lambda: compute(point))
    point.drop()
    return arrays


def _checksum(arrays: Mapping[str, np.ndarray]) -> str:
    """CRC-32 over names, types, shapes and content."""
    value = 0
    for name, array in sorted(arrays.items()):
        value = zlib.crc32(f"{name} {array.dtype} {array.shape}\n".encode(), value)
        value = zlib.crc32(np.ascontiguousarray(array).data, value)
    return f"{value:08x}"
