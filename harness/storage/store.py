"""Records and artifacts on disk: atomic, locked, found again by key."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.context import Arrays
from harness.data.array_files import serialised
from harness.data.images import image_columns
from harness.errors import ComputedElsewhere, StoreError
from harness.fingerprint import stage_key
from harness.records.curves import Curve
from harness.records.pictures import PICTURES
from harness.records.record import Cost, Record
from harness.types import DistilledData

if TYPE_CHECKING:
    from datasets import Dataset
    from filelock import BaseFileLock

    from harness.records.results import Failure


_OWN_ARRAYS = "own.safetensors"
_ARRAYS_FORMAT = 2
"""Raised when shared arrays that lie in stores are not to be found again: of the first format, some
were written with other numbers than they had."""


@dataclass(frozen=True)
class Distilled:
    """A stored distilled set, with its bill and what was drawn on the way."""

    data: DistilledData
    cost: Cost
    curves: Mapping[str, Curve] = field(default_factory=dict)
    pictures: Mapping[str, bytes] = field(default_factory=dict)


@dataclass
class Store:
    """One results folder.

    `records/KEY.json`, `failures/KEY.json` and `pictures/KEY/` are meant for git; `artifacts/`
    (distilled sets, weights in flight, shared arrays, work in progress, locks) is not.
    """

    root: Path

    def prepare(self) -> None:
        """Makes the folders.

        Raises:
            StoreError: the folder cannot be written.
        """
        try:
            for folder in (self.records, self.failures, self.artifacts / "locks"):
                folder.mkdir(parents=True, exist_ok=True)
            write_atomic(self.artifacts / ".gitignore", b"*\n")
            for folder in (self.records, self.failures):
                if not os.access(folder, os.W_OK | os.X_OK):
                    raise PermissionError(13, "Permission denied", str(folder))
        except OSError as error:
            raise StoreError(
                f"the results folder '{self.root}' cannot be written: {error.strerror}",
                hint="Choose another with --output.",
            ) from error

    @property
    def records(self) -> Path:
        return self.root / "records"

    @property
    def failures(self) -> Path:
        return self.root / "failures"

    @property
    def artifacts(self) -> Path:
        return self.root / "artifacts"

    def record_path(self, key: str) -> Path:
        return self.records / f"{key}.json"

    def record(self, key: str) -> Record | None:
        """A finished record; None when there is none, or only a damaged one."""
        path = self.record_path(key)
        try:
            return Record.from_json(path.read_bytes(), where=str(path))
        except (FileNotFoundError, StoreError):
            return None

    def has_record(self, key: str) -> bool:
        return self.record(key) is not None

    def save_record(self, record: Record) -> None:
        write_atomic(self.record_path(record.key), record.to_json())
        self.clear_failure(record.key)

    def save_pictures(self, key: str, pictures: Mapping[str, bytes]) -> None:
        """Leaves exactly these pictures beside a record; call it before `save_record`."""
        folder = self.root / PICTURES / key
        if not pictures:
            shutil.rmtree(folder, ignore_errors=True)
            return
        with atomic_folder(folder) as partial:
            _write_pictures(partial, pictures)

    def save_failure(self, failure: Failure) -> None:
        write_atomic(self.failures / f"{failure.key}.json", failure.to_json())

    def has_failure(self, key: str) -> bool:
        return (self.failures / f"{key}.json").exists()

    def clear_failure(self, key: str) -> None:
        (self.failures / f"{key}.json").unlink(missing_ok=True)

    def lock(self, key: str) -> BaseFileLock:
        """The lock of one stage; the system releases it when its holder dies."""
        from filelock import FileLock

        return FileLock(self.artifacts / "locks" / f"{key}.lock")

    def workdir(self, key: str) -> Path:
        """A stage's private folder, which survives a kill."""
        folder = self.artifacts / "work" / key
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def drop_workdir(self, key: str) -> None:
        shutil.rmtree(self.artifacts / "work" / key, ignore_errors=True)

    def distilled_path(self, key: str) -> Path:
        return self.artifacts / "distilled" / key

    def distilled(self, key: str, train: Dataset) -> Distilled | None:
        """A stored set; `train` gives back the images of a selection, which are not stored."""
        folder = self.distilled_path(key)
        return _read_distilled(folder, train) if folder.is_dir() else None

    def save_distilled(self, key: str, distilled: Distilled) -> None:
        with atomic_folder(self.distilled_path(key)) as folder:
            _write_distilled(folder, distilled)

    def fit_path(self, key: str) -> Path:
        return self.artifacts / "fits" / key

    def drop_fit(self, key: str) -> None:
        shutil.rmtree(self.fit_path(key), ignore_errors=True)

    def drop_distilled(self, key: str) -> None:
        shutil.rmtree(self.distilled_path(key), ignore_errors=True)


@dataclass
class StoredArrays:
    """Arrays that stages share; each is computed once, and its time is charged to every user.

    A method must not look cheap because another one computed its embeddings first, so the
    seconds of every array that was found instead of computed are added up in `found_seconds`,
    once however often the stage asks. Nor may it look dear because it had to wait for the other
    one: that is added up in `waited_seconds`.

    patient: waits for an array that another process is computing, or raises ComputedElsewhere.
    """

    store: Store
    patient: bool = True
    found_seconds: float = field(default=0.0)
    waited_seconds: float = field(default=0.0)
    charged: set[str] = field(default_factory=set)

    @property
    def extra_seconds(self) -> float:
        """What the stage is to be charged besides the time that went by, which may be less."""
        return self.found_seconds - self.waited_seconds

    def arrays(self, name: str, inputs: Mapping[str, Any], compute: Callable[[], Arrays]) -> Arrays:
        """See `harness.context.ArrayCache`."""
        from safetensors.numpy import load_file

        key = stage_key(f"arrays:{name}", {**inputs, "format": _ARRAYS_FORMAT})
        folder = self.store.artifacts / "arrays" / key
        asked = time.monotonic()
        with self._lock(f"arrays-{key}"):
            self.waited_seconds += time.monotonic() - asked
            if folder.is_dir():
                meta = json.loads((folder / "meta.json").read_bytes())
                self.found_seconds += 0.0 if key in self.charged else meta["seconds"]
                self.charged.add(key)
                return load_file(folder / "arrays.safetensors")
            extra_before = self.extra_seconds
            started = time.monotonic()
            arrays = dict(compute())
            seconds = time.monotonic() - started + self.extra_seconds - extra_before
            self.charged.add(key)
            with atomic_folder(folder) as partial:
                (partial / "arrays.safetensors").write_bytes(serialised(arrays))
                meta = {"name": name, "inputs": dict(inputs), "seconds": seconds}
                (partial / "meta.json").write_bytes(_pretty(meta))
            return arrays

    def _lock(self, key: str) -> AbstractContextManager[Any]:
        from filelock import Timeout

        lock = self.store.lock(key)
        if self.patient:
            return lock
        try:
            return lock.acquire(timeout=0)
        except Timeout:
            raise ComputedElsewhere(key) from None


def write_atomic(path: Path, content: bytes) -> None:
    """Writes a file so that a reader sees the old content or the new, whatever happens."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    _sync_folder(path.parent)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which takes its name only once it is whole. Hold the stage's lock."""
    partial = path.with_name(f"{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    yield partial
    for file in partial.rglob("*"):
        if file.is_file():
            _sync_file(file)
    shutil.rmtree(path, ignore_errors=True)
    partial.rename(path)
    _sync_folder(path.parent)


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(path: Path) -> None:
    if os.name == "posix":
        _sync_file(path)


def _pretty(value: Any) -> bytes:
    return (json.dumps(value, sort_keys=True, indent=1, allow_nan=False) + "\n").encode()


def _write_distilled(folder: Path, distilled: Distilled) -> None:
    import pyarrow.parquet

    data = distilled.data
    rows = data.rows
    if data.indices is not None:
        # Positions tell which images they are, and images are what is large.
        rows = rows.remove_columns(list(image_columns(rows)))
    pyarrow.parquet.write_table(rows.with_format("arrow")[:], folder / "rows.parquet")
    arrays = {
        name: value
        for name in ("indices", "soft_labels", "weights")
        if (value := getattr(data, name)) is not None
    }
    (folder / "arrays.safetensors").write_bytes(serialised(arrays))
    if data.arrays:
        (folder / _OWN_ARRAYS).write_bytes(serialised(data.arrays))
    meta = {
        "report": dict(data.report),
        "used_splits": list(data.used_splits),
        "seconds": distilled.cost.seconds,
        "peak_bytes": distilled.cost.peak_bytes,
        "device_peak_bytes": distilled.cost.device_peak_bytes,
        "curves": {name: asdict(curve) for name, curve in distilled.curves.items()},
    }
    (folder / "meta.json").write_bytes(_pretty(meta))
    _write_pictures(folder, distilled.pictures)


def _write_pictures(folder: Path, pictures: Mapping[str, bytes]) -> None:
    for name, png in pictures.items():
        (folder / f"{name}.png").write_bytes(png)


def _read_distilled(folder: Path, train: Dataset) -> Distilled:
    import pyarrow.parquet
    from datasets import Dataset
    from safetensors.numpy import load_file

    meta = json.loads((folder / "meta.json").read_bytes())
    data = DistilledData(
        rows=Dataset(pyarrow.parquet.read_table(folder / "rows.parquet")),
        report=meta["report"],
        used_splits=tuple(meta["used_splits"]),
    )
    data = replace(data, **load_file(folder / "arrays.safetensors"))
    if (folder / _OWN_ARRAYS).exists():
        data = replace(data, arrays=load_file(folder / _OWN_ARRAYS))
    images = image_columns(train)
    if data.indices is not None and images:
        columns = [
            name for name in train.column_names if name in {*images, *data.rows.column_names}
        ]
        data = replace(data, rows=train.select_columns(columns).select(data.indices))
    cost = Cost(meta["seconds"], meta["peak_bytes"], meta["device_peak_bytes"])
    pictures = {path.stem: path.read_bytes() for path in sorted(folder.glob("*.png"))}
    return Distilled(data, cost, curves_from_json(meta["curves"]), pictures)


def curves_from_json(plain: Mapping[str, Any]) -> dict[str, Curve]:
    """Curves as `dataclasses.asdict` and JSON left them."""
    return {name: Curve(tuple(c["steps"]), tuple(c["values"])) for name, c in plain.items()}
