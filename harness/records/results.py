"""The results of a folder: its records and failures, filtered, as a frame."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from harness.errors import StoreError, UsageError, unknown_name
from harness.records.failure import Failure
from harness.records.pictures import found_pictures
from harness.records.reading import collector_paused, read_record
from harness.records.record import Record

if TYPE_CHECKING:
    import pandas as pd


RECORDS = "records"
FAILURES = "failures"


@dataclass(frozen=True)
class Problem:
    """A file of the results folder that could not be used, and why."""

    path: Path
    reason: str


Names = str | Collection[str]
"""One name or several, each a name (`bert`) or a label (`bert:minilm`)."""


@dataclass(frozen=True)
class Results:
    """Records in the order of their keys, with what failed and what could not be read.

    notes: what a reader of the board should know about where the records came from.
    pictures: record key -> the files that its evaluation left.
    """

    records: tuple[Record, ...]
    failures: tuple[Failure, ...] = ()
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    pictures: Mapping[str, tuple[Path, ...]] = field(default_factory=dict, compare=False)

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    def only(self, keys: Collection[str]) -> Results:
        """The records and failures with these keys."""
        wanted = frozenset(keys)
        return self._where(lambda record: record.key in wanted, lambda f: f.key in wanted)

    def filter(
        self,
        *,
        task: Names = (),
        distiller: Names = (),
        student: Names = (),
        evaluator: Names = (),
        budget: Names = (),
        suite: Names = (),
    ) -> Results:
        """What matches every given field, by name (`bert`) or by label (`bert:minilm`).

        Failures carry no suite, so filtering by suite keeps them all.

        Raises:
            UsageError: none of these records and failures has one of the names; the message
                suggests close ones.
        """
        by_label = {"task": task, "distiller": distiller, "student": student,
                    "evaluator": evaluator, "budget": budget}  # fmt: skip
        wanted = {name: _choices(names) for name, names in by_label.items()}
        suites = {"suite": _choices(suite)}
        for name, choices in {**wanted, **suites}.items():
            self._refuse_unknown(name, choices)
        return self._where(
            lambda record: _matches(record, _RECORD_LABELS, {**wanted, **suites}),
            lambda failure: _matches(failure, _FAILURE_LABELS, wanted),
        )

    def _where(
        self, keep_record: Callable[[Record], bool], keep_failure: Callable[[Failure], bool]
    ) -> Results:
        return replace(
            self,
            records=tuple(filter(keep_record, self.records)),
            failures=tuple(filter(keep_failure, self.failures)),
        )

    def _refuse_unknown(self, field: str, choices: Collection[str]) -> None:
        labels = {_RECORD_LABELS[field](record) for record in self.records}
        if field in _FAILURE_LABELS:
            labels |= {_FAILURE_LABELS[field](failure) for failure in self.failures}
        known = {name for label in labels for name in _names_of(label)}
        for choice in choices if known else ():
            if choice not in known and (field, choice) != _REFERENCE_BUDGET:
                raise unknown_name(field, choice, known)

    def to_pandas(self) -> pd.DataFrame:
        """One row for each record, with flat columns; metrics are fractions."""
        from harness.records.frame import flat_frame

        return flat_frame(self.records)


def load_records(folder: Path, *, missing_ok: bool = False) -> Results:
    """Reads `records/*.json` and `failures/*.json` of a results folder.

    A file that cannot be used becomes a `Problem`; the others are still read.

    Raises:
        UsageError: the folder does not exist or holds nothing to read, unless `missing_ok`.
        StoreError: the folder may not be listed.
    """
    if not missing_ok and not folder.is_dir():
        raise UsageError(
            f"there is no results folder {folder}",
            hint="Name the folder that `harness bench --output` wrote.",
        )
    problems: list[Problem] = []
    with collector_paused():
        records = list(_documents(folder / RECORDS, read_record, problems))
        found = list(_documents(folder / FAILURES, Failure.from_json, problems))
    if not missing_ok and not (records or found or problems):
        raise UsageError(
            f"the results folder {folder} holds no records",
            hint="Run `harness bench` with this folder as --output first.",
        )
    done = {record.key for record in records}
    return Results(
        tuple(sorted(records, key=lambda record: record.key)),
        tuple(sorted((f for f in found if f.key not in done), key=lambda failure: failure.key)),
        tuple(problems),
        pictures=found_pictures(folder),
    )


class _Keyed(Protocol):
    @property
    def key(self) -> str: ...


K = TypeVar("K", bound=_Keyed, covariant=True)


class _Reader(Protocol[K]):
    def __call__(self, text: bytes, *, where: str) -> K: ...


def _documents(folder: Path, reader: _Reader[K], problems: list[Problem]) -> Iterator[K]:
    """The stored documents by name; names that start with a dot are writes in progress.

    A document whose name is not its key is refused, so that no key can lead out of the folder.
    """
    for name in _names_in(folder):
        if not name.endswith(".json") or name.startswith("."):
            continue
        path = folder / name
        try:
            with open(path, "rb") as file:
                document = reader(file.read(), where=name)
        except (StoreError, OSError) as error:
            reason = error.message if isinstance(error, StoreError) else str(error)
            problems.append(Problem(path, reason))
            continue
        if f"{document.key}.json" == name:
            yield document
        else:
            problems.append(Problem(path, f"{name} holds the key '{document.key}'"))


def _names_in(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise StoreError(f"{folder} cannot be read: {error.strerror}") from error


_RECORD_LABELS: Mapping[str, Callable[[Record], str]] = {
    "task": lambda record: record.task.component.label,
    "distiller": lambda record: record.distiller.label,
    "student": lambda record: record.student.component.label,
    "evaluator": lambda record: record.evaluator.label,
    "budget": lambda record: record.budget,
    "suite": lambda record: record.suite,
}
_FAILURE_LABELS: Mapping[str, Callable[[Failure], str]] = {
    "task": lambda failure: failure.task,
    "distiller": lambda failure: failure.distiller,
    "student": lambda failure: failure.student,
    "evaluator": lambda failure: failure.evaluator,
    "budget": lambda failure: failure.budget,
}
_REFERENCE_BUDGET = ("budget", "100%")
"""Asking for the row on the whole train split too is no mistake where there is none."""
D = TypeVar("D", Record, Failure)


def _matches(
    document: D, labels: Mapping[str, Callable[[D], str]], wanted: Mapping[str, frozenset[str]]
) -> bool:
    return all(
        not choices or choices & _names_of(labels[name](document))
        for name, choices in wanted.items()
    )


def _choices(names: Names) -> frozenset[str]:
    return frozenset({names} if isinstance(names, str) else names)


def _names_of(label: str) -> frozenset[str]:
    return frozenset({label, label.partition(":")[0]})
