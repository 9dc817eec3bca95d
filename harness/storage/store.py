"""The store: records, artifacts and locks of a results folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import StoreError
from harness.records.pictures import PICTURES
from harness.records.record import Record
from harness.storage.artifacts import (
    Distilled,
    read_distilled,
    write_distilled,
    write_pictures,
)
from harness.storage.atomic import atomic_folder, write_atomic

if TYPE_CHECKING:
    from datasets import Dataset
    from filelock import BaseFileLock

    from harness.records.failure import Failure


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
            write_pictures(partial, pictures)

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
        return read_distilled(folder, train) if folder.is_dir() else None

    def save_distilled(self, key: str, distilled: Distilled) -> None:
        with atomic_folder(self.distilled_path(key)) as folder:
            write_distilled(folder, distilled)

    def fit_path(self, key: str) -> Path:
        return self.artifacts / "fits" / key

    def drop_fit(self, key: str) -> None:
        shutil.rmtree(self.fit_path(key), ignore_errors=True)
