"""The binary files of recorded experts: their names, types and sizes."""

from __future__ import annotations

import os
from math import prod
from pathlib import Path

import numpy as np

from harness.kit.files.manifest_file import damaged
from harness.kit.trajectories.experts.manifest import WHAT, ExpertManifest, write_manifest

PARTS = {"initial": "<f4", "states": "<f4", "memories": "<f4", "losses": "<f4", "batches": "<i4"}
"""The arrays of `ExpertTrajectories`, each a file, and their types there."""


def array_shapes(manifest: ExpertManifest) -> dict[str, tuple[int, ...]]:
    """The shape of each part."""
    options, size = manifest.options, manifest.layout.size
    kept = (options.experts, options.states)
    return {
        "initial": (size,),
        "states": (*kept, size),
        "memories": (*kept, len(options.optimizer.memories), size),
        "losses": (options.experts, options.steps),
        "batches": (options.experts, options.steps, manifest.batch_size),
    }


def create(folder: Path, manifest: ExpertManifest, initial: np.ndarray) -> None:
    """Empty files and the initialisation, then the manifest, so a manifest has everything."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, size in _sizes(manifest).items():
        with (folder / f"{name}.bin").open("wb") as file:
            file.truncate(size)
            os.fsync(file.fileno())
    write_at(folder, manifest, "initial", (), initial)
    write_manifest(folder, manifest)


def write_at(
    folder: Path, manifest: ExpertManifest, name: str, place: tuple[int, ...], values: np.ndarray
) -> None:
    """Writes values at a place of an array, so that after this returns no crash loses them.

    place: leading indices of the first value.
    """
    shape, dtype = array_shapes(manifest)[name], np.dtype(PARTS[name])
    strides = [prod(shape[axis + 1 :]) for axis in range(len(place))]
    offset = sum(index * stride for index, stride in zip(place, strides, strict=True))
    content = np.ascontiguousarray(values, dtype=dtype).tobytes()
    with (folder / f"{name}.bin").open("r+b") as file:
        file.seek(offset * dtype.itemsize)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def require_sizes(folder: Path, manifest: ExpertManifest) -> None:
    """Raises HarnessError when a file is missing or has lost a part."""
    for name, size in _sizes(manifest).items():
        file = folder / f"{name}.bin"
        if not file.exists() or file.stat().st_size != size:
            raise damaged(folder, WHAT, f"{file.name} does not have {size} bytes")


def mapped(folder: Path, manifest: ExpertManifest, name: str) -> np.ndarray:
    """A part's array, read-only; a file of no bytes cannot be mapped, so its array is made."""
    shape, dtype = array_shapes(manifest)[name], np.dtype(PARTS[name])
    if not prod(shape):
        return np.zeros(shape, dtype)
    return np.memmap(folder / f"{name}.bin", dtype, "r", 0, shape)


def _sizes(manifest: ExpertManifest) -> dict[str, int]:
    """Bytes of each file."""
    shapes = array_shapes(manifest)
    return {name: prod(shapes[name]) * np.dtype(dtype).itemsize for name, dtype in PARTS.items()}
