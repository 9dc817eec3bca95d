"""The binary files of recorded experts: their names, types and sizes."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from harness.kit.files.manifest_file import damaged
from harness.kit.files.scaled_rows import little_endian
from harness.kit.trajectories.experts.manifest import WHAT, ExpertManifest, write_manifest


@dataclass(frozen=True)
class Part:
    """One array of `ExpertTrajectories`: its name there and its type on disk."""

    name: str
    dtype: Callable[[ExpertManifest], np.dtype]

    @property
    def file(self) -> str:
        return f"{self.name}.bin"


def _fixed(dtype: str) -> Callable[[ExpertManifest], np.dtype]:
    return lambda manifest: little_endian(dtype)


PARTS = (
    Part("initial", _fixed("float32")),
    Part("states", lambda manifest: little_endian(manifest.options.dtype)),
    Part("scales", _fixed("float32")),
    Part("memories", _fixed("float32")),
    Part("losses", _fixed("float32")),
    Part("batches", _fixed("int32")),
)


def array_shapes(manifest: ExpertManifest) -> dict[str, tuple[int, ...]]:
    """The shape of each part."""
    options, size = manifest.options, manifest.layout.size
    kept = (options.experts, options.states)
    return {
        "initial": (size,),
        "states": (*kept, size),
        "scales": kept,
        "memories": (*kept, len(options.optimizer.memories), size),
        "losses": (options.experts, options.steps),
        "batches": (options.experts, options.steps, manifest.batch_size),
    }


def create(folder: Path, manifest: ExpertManifest, initial: np.ndarray) -> None:
    """Empty files and the initialisation, then the manifest, so a manifest has everything."""
    folder.mkdir(parents=True, exist_ok=True)
    shapes = array_shapes(manifest)
    for part in PARTS:
        with (folder / part.file).open("wb") as file:
            file.truncate(prod(shapes[part.name]) * part.dtype(manifest).itemsize)
            os.fsync(file.fileno())
    write_at(folder, manifest, "initial", (), initial)
    write_manifest(folder, manifest)


def write_at(
    folder: Path, manifest: ExpertManifest, name: str, place: tuple[int, ...], values: np.ndarray
) -> None:
    """Writes values at a place of an array, so that after this returns no crash loses them.

    place: leading indices of the first value.
    """
    (part,) = (part for part in PARTS if part.name == name)
    shape = array_shapes(manifest)[name]
    strides = [prod(shape[axis + 1 :]) for axis in range(len(place))]
    offset = sum(index * stride for index, stride in zip(place, strides, strict=True))
    content = np.ascontiguousarray(values, dtype=part.dtype(manifest)).tobytes()
    with (folder / part.file).open("r+b") as file:
        file.seek(offset * part.dtype(manifest).itemsize)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def require_sizes(folder: Path, manifest: ExpertManifest) -> None:
    """Raises HarnessError when a file is missing or has lost a part."""
    shapes = array_shapes(manifest)
    for part in PARTS:
        size = prod(shapes[part.name]) * part.dtype(manifest).itemsize
        file = folder / part.file
        if not file.exists() or file.stat().st_size != size:
            raise damaged(folder, WHAT, f"{part.file} does not have {size} bytes")


def mapped(folder: Path, manifest: ExpertManifest, part: Part) -> np.ndarray:
    """A part's array, read-only; a file of no bytes cannot be mapped, so its array is made."""
    shape, dtype = array_shapes(manifest)[part.name], part.dtype(manifest)
    if not prod(shape):
        return np.zeros(shape, dtype)
    return np.memmap(folder / part.file, dtype, "r", 0, shape)
