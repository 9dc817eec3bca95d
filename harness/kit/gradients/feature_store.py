"""Gradient features on disk: written in any order, resumed after a kill, never mixed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import HarnessError, UsageError
from harness.kit.files.scaled_rows import little_endian, scaled_rows
from harness.kit.gradients.feature_manifest import (
    FeatureManifest,
    damaged,
    read_manifest,
    write_manifest,
)


@dataclass
class FeatureStore:
    """A folder with one matrix, `features.bin`, [rows, width] little-endian, row after row.

    Rows of float16 are scaled by a power of two to the range below 1, so that no gradient is too
    small or too large for it; `scales.bin` holds what to multiply them with, [rows] float32. A
    line of `done.jsonl` says which rows are written, after they are safely on the disk. One
    process writes at a time.
    """

    folder: Path
    manifest: FeatureManifest
    _done: np.ndarray = field(repr=False)
    _flawed: dict[str, list[int]] = field(repr=False)

    @classmethod
    def open(cls, folder: Path, manifest: FeatureManifest) -> FeatureStore:
        """The store of a manifest, made if there is none, else as far as it was written.

        Raises:
            UsageError: the folder holds features of another manifest.
            HarnessError: the folder holds a damaged store.
        """
        if not (folder / "manifest.json").exists():
            _create(folder, manifest)
        _cut_torn_line(folder / "done.jsonl")
        store = cls.read(folder)
        store.manifest.require_equal(manifest, f"'{folder}' holds other features")
        return store

    @classmethod
    def read(cls, folder: Path) -> FeatureStore:
        """A store as it is.

        Raises:
            UsageError: there is none.
            HarnessError: it is damaged, or of another version of this format.
        """
        manifest = read_manifest(folder)
        sizes = {"features.bin": manifest.width * np.dtype(manifest.dtype).itemsize}
        sizes["scales.bin"] = 4
        for name, each in sizes.items():
            file = folder / name
            if not file.exists() or file.stat().st_size != each * manifest.rows:
                raise damaged(folder, f"{name} does not have {each * manifest.rows} bytes")
        done = np.zeros(manifest.rows, dtype=bool)
        flawed: dict[str, list[int]] = {"not_finite": [], "zero": []}
        for entry in _journal(folder):
            done[entry["rows"]] = True
            for kind, rows in flawed.items():
                rows.extend(entry[kind])
        return cls(folder, manifest, done, flawed)

    def write(self, rows: Sequence[int] | np.ndarray, values: np.ndarray) -> None:
        """Writes some rows for good: after this returns, no crash loses them.

        Args:
            rows: indices, any order; values: [len(rows), width] floats, NaN and infinity allowed.

        Raises:
            UsageError: a shape or an index is wrong, or a row was written before.
        """
        indices = np.asarray(rows, dtype=np.int64)
        self._check(indices, values)
        stored, scales = scaled_rows(values, self.manifest.dtype)
        _write_rows(self.folder / "features.bin", indices, stored)
        _write_rows(self.folder / "scales.bin", indices, scales)
        finite = np.isfinite(stored).all(axis=1)
        flaws = {
            "not_finite": indices[~finite].tolist(),
            "zero": indices[finite & ~stored.any(axis=1)].tolist(),
        }
        entry = {"rows": indices.tolist(), "sha256": _content(stored, scales), **flaws}
        _append_line(self.folder / "done.jsonl", json.dumps(entry))
        self._done[indices] = True
        for kind, found in flaws.items():
            self._flawed[kind].extend(found)

    @property
    def missing(self) -> np.ndarray:
        """Indices of the rows that are still to be written."""
        return np.flatnonzero(~self._done)

    @property
    def not_finite(self) -> list[int]:
        """Rows with NaN or infinity, ascending."""
        return sorted(self._flawed["not_finite"])

    @property
    def zero(self) -> list[int]:
        """Rows without any value but zero, ascending."""
        return sorted(self._flawed["zero"])

    @cached_property
    def features(self) -> np.memmap:
        """[rows, width], read-only, as on disk: float16 rows are scaled, see `scales`.

        Raises:
            HarnessError: rows are missing.
        """
        self._require_complete()
        shape = (self.manifest.rows, self.manifest.width)
        return np.memmap(
            self.folder / "features.bin", little_endian(self.manifest.dtype), "r", 0, shape
        )

    @cached_property
    def scales(self) -> np.memmap:
        """[rows] float32, read-only: a row's true values are its stored ones times this."""
        self._require_complete()
        return np.memmap(self.folder / "scales.bin", "<f4", "r", 0, (self.manifest.rows,))

    def values(self, start: int, stop: int) -> np.ndarray:
        """[stop - start, width] float32, the true values of neighbouring rows."""
        return self.features[start:stop].astype(np.float32) * self.scales[start:stop, None]

    def verify(self) -> None:
        """Compares all rows with the hashes taken when they were written.

        Raises:
            HarnessError: rows are missing, or have changed since.
        """
        for entry in _journal(self.folder):
            rows = entry["rows"]
            if _content(self.features[rows], self.scales[rows]) != entry["sha256"]:
                raise damaged(self.folder, f"the rows of the block of row {rows[0]} have changed")

    def _check(self, indices: np.ndarray, values: np.ndarray) -> None:
        if values.shape != (len(indices), self.manifest.width) or not len(indices):
            raise UsageError(
                f"{len(indices)} rows of {self.manifest.width} features, but values of shape"
                f" {list(values.shape)}"
            )
        if indices.min() < 0 or indices.max() >= self.manifest.rows:
            raise UsageError(f"a row outside of 0 to {self.manifest.rows - 1}")
        if len(np.unique(indices)) < len(indices) or self._done[indices].any():
            raise UsageError("a row is written twice", hint="Write `missing` rows only.")

    def _require_complete(self) -> None:
        if len(self.missing):
            raise HarnessError(
                f"'{self.folder}' lacks {len(self.missing)} of {self.manifest.rows} rows,"
                f" the first is row {self.missing[0]}",
                hint="Run the same command again: it computes only what is missing.",
            )


def _create(folder: Path, manifest: FeatureManifest) -> None:
    """Empty files, then the manifest: a folder with a manifest has everything."""
    if manifest.rows < 1 or manifest.width < 1 or manifest.dtype not in ("float16", "float32"):
        raise UsageError(
            f"a feature store of {manifest.rows} rows, {manifest.width} columns, {manifest.dtype}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    width = manifest.width * np.dtype(manifest.dtype).itemsize
    for name, size in (("features.bin", width), ("scales.bin", 4), ("done.jsonl", 0)):
        with (folder / name).open("wb") as file:
            file.truncate(size * manifest.rows)
            os.fsync(file.fileno())
    write_manifest(folder, manifest)


def _journal(folder: Path) -> list[dict[str, Any]]:
    """The entries that were finished; a last line without its end is the trace of a crash."""
    try:
        lines = (folder / "done.jsonl").read_bytes().split(b"\n")[:-1]
        return [json.loads(line) for line in lines]
    except (FileNotFoundError, ValueError) as error:
        raise damaged(folder, "done.jsonl cannot be read") from error


def _cut_torn_line(path: Path) -> None:
    """Removes what a crash may have left of an entry."""
    if path.exists():
        with path.open("r+b") as file:
            file.truncate(file.read().rfind(b"\n") + 1)


def _append_line(path: Path, line: str) -> None:
    with path.open("ab") as file:
        file.write(line.encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _write_rows(path: Path, indices: np.ndarray, rows: np.ndarray) -> None:
    with path.open("r+b") as file:
        for index, row in zip(indices.tolist(), rows, strict=True):
            content = row.tobytes()
            file.seek(index * len(content))
            file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _content(stored: np.ndarray, scales: np.ndarray) -> str:
    return hashlib.sha256(stored.tobytes() + scales.tobytes()).hexdigest()
