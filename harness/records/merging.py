"""Merging of results folders: a run counts once, and may not contradict itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from harness.errors import UsageError
from harness.records.failure import Failure
from harness.records.record import DistilledRecord, PackedArray, Record
from harness.records.results import RECORDS, Results, load_records

_MAY_DIFFER = {
    "schema", "suite", "suite_version", "costs", "curves", "provenance", "distilled", "items",
}  # fmt: skip
"""What two computations of one run need not share, and what `conflicts` looks at more closely."""


@dataclass(frozen=True)
class _Found:
    """A record with the folder it lies in."""

    folder: Path
    record: Record

    @property
    def path(self) -> Path:
        return self.folder / RECORDS / f"{self.record.key}.json"


def load_merged(folders: Sequence[Path]) -> Results:
    """Reads the records of several folders; the order in which they are named changes nothing.

    A run that lies in several folders counts once. Where its records differ in costs,
    provenance or suite, the earliest is kept, and a note says so.

    Raises:
        UsageError: a folder does not exist or holds nothing to read, or two records of one run
            differ in what was measured.
    """
    distinct = list({folder.resolve(): folder for folder in folders}.values())
    parts = [(folder, load_records(folder)) for folder in distinct]
    if len(parts) == 1:
        return parts[0][1]
    return merge(parts)


def merge(parts: Sequence[tuple[Path, Results]]) -> Results:
    """The results of several folders as one; see `load_merged`."""
    found: dict[str, list[_Found]] = {}
    for folder, results in parts:
        for record in results:
            found.setdefault(record.key, []).append(_Found(folder, record))
    kept = {key: _one(copies) for key, copies in sorted(found.items())}
    failures: dict[str, Failure] = {}
    every = [failure for _, results in parts for failure in results.failures]
    for failure in sorted(every, key=Failure.to_json):
        if failure.key not in kept:
            failures.setdefault(failure.key, failure)
    problems = [problem for _, results in parts for problem in results.problems]
    of_folder = {folder: results.pictures for folder, results in parts}
    pictures = {key: of_folder[one.folder].get(key, ()) for key, one in kept.items()}
    return Results(
        tuple(one.record for one in kept.values()),
        tuple(failures[key] for key in sorted(failures)),
        tuple(sorted(problems, key=lambda problem: problem.path)),
        (*(note for _, results in parts for note in results.notes), *_notes(found, kept)),
        {key: paths for key, paths in pictures.items() if paths},
    )


def conflicts(first: Record, second: Record) -> list[str]:
    """The fields in which two records of one run may not differ, but do.

    Costs, provenance, suite, curves and what a method tells of its set may differ; a packed
    array counts by its values, as another zlib packs the same values into other bytes.
    """
    names = [field.name for field in fields(Record) if field.name not in _MAY_DIFFER]
    found = [name for name in names if getattr(first, name) != getattr(second, name)]
    if _set_of(first) != _set_of(second):
        found.append("distilled")
    if not _same_items(first, second):
        found.append("items")
    return found


def _one(copies: Sequence[_Found]) -> _Found:
    """The copy that counts: the earliest, whichever folder was named first."""
    if len(copies) == 1:
        return copies[0]
    first, *others = sorted(copies, key=lambda one: (one.record.provenance.created, _bytes(one)))
    for other in others:
        differing = conflicts(first.record, other.record)
        if differing:
            one, two = sorted((first.path, other.path))
            raise UsageError(
                f"{one} and {two} are records of the same run, but differ in"
                f" {', '.join(differing)}",
                hint="Find out which is right (harness results verify), and take the other out of"
                " its folder; or rank the folders apart.",
            )
    return first


def _bytes(one: _Found) -> bytes:
    return one.record.to_json()


def _set_of(record: Record) -> DistilledRecord:
    return replace(record.distilled, report={}, samples=())


def _same_items(first: Record, second: Record) -> bool:
    return first.items.keys() == second.items.keys() and all(
        _same_array(packed, second.items[name]) for name, packed in first.items.items()
    )


def _same_array(first: PackedArray, second: PackedArray) -> bool:
    if first == second:
        return True
    import numpy as np

    return first.dtype == second.dtype and np.array_equal(first.unpack(), second.unpack())


def _notes(found: Mapping[str, Sequence[_Found]], kept: Mapping[str, _Found]) -> Iterator[str]:
    """One line for all runs that were computed more than once, if any."""
    differing: Counter[str] = Counter()
    examples: list[tuple[Path, Path]] = []
    for key, one in kept.items():
        for other in found[key]:
            names = _differences(one.record, other.record)
            if names:
                differing.update(names)
                examples.append((one.path, other.path))
    if examples:
        one_path, other_path = min(examples)
        yield (
            f"{len(examples)} records are of runs that another folder has too, with other"
            f" {' and '.join(sorted(differing))}; the earliest counts, as {one_path} instead of"
            f" {other_path}"
        )


def _differences(first: Record, second: Record) -> list[str]:
    names = [field.name for field in fields(Record) if field.name != "items"]
    return [name for name in names if getattr(first, name) != getattr(second, name)]
