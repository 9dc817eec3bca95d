"""Garbage collection of a results folder: artifacts that no record needs, under their locks."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.errors import UsageError
from harness.records.results import RECORDS, Results, load_records
from harness.storage.store import Store

LeftoverKind = Literal["partial", "work", "fit", "distilled", "arrays", "lock"]
_PARTIAL = ".partial"
_LOCK = ".lock"


@dataclass(frozen=True)
class Leftover:
    """Something under `artifacts/` that no record needs.

    bytes: on disk, all files below it; lock: the stage's; reason: why it is not needed.
    useful: a run that goes on, or another one, would save time by it.
    """

    kind: LeftoverKind
    path: Path
    bytes: int
    lock: str
    reason: str
    useful: bool = False


@dataclass(frozen=True)
class Leftovers:
    """What could go, and what stays for a reason.

    held: stages that some process computes right now. While there are any, nothing `useful` is
    among `found`, as the run at work may want it next.
    notes: what stays that might not have to.
    """

    found: tuple[Leftover, ...]
    held: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def bytes(self) -> int:
        return sum(leftover.bytes for leftover in self.found)


def leftovers(folder: Path) -> Leftovers:
    """Looks through `artifacts/`; changes nothing.

    Raises:
        UsageError: this is not a results folder.
    """
    store = Store(folder)
    if not store.artifacts.is_dir() and not store.records.is_dir():
        raise UsageError(
            f"{folder} is not a results folder: it has neither records nor artifacts",
            hint="Name the folder that `harness bench --output` wrote.",
        )
    held = tuple(name for name in _lock_names(store) if _is_held(store, name))
    results = load_records(folder, missing_ok=True)
    found = [*_partials(store), *_work(store, results), *_fits(store), *_arrays(store)]
    notes = []
    unreadable = sum(problem.path.parent.name == RECORDS for problem in results.problems)
    if unreadable:
        notes.append(
            f"{unreadable} records cannot be read, so every distilled set stays;"
            " see harness results verify"
        )
    else:
        found += _distilled(store, results)
    if held:
        useful = [leftover for leftover in found if leftover.useful]
        notes.append(
            f"a bench is at work here ({len(held)} stages are locked), so {len(useful)} things"
            " that it may want stay"
        )
        found = [leftover for leftover in found if not leftover.useful]
    else:
        found += _locks(store)
    return Leftovers(tuple(found), held, tuple(notes))


def remove(folder: Path, found: Sequence[Leftover]) -> tuple[Leftover, ...]:
    """Removes each under its stage's lock, and returns those that went.

    What is locked by now stays, and so does everything but `artifacts/`.
    """
    store = Store(folder)
    (store.artifacts / "locks").mkdir(parents=True, exist_ok=True)
    before = set(_lock_names(store))
    gone = [leftover for leftover in found if _remove_one(store, leftover)]
    for name in set(_lock_names(store)) - before:
        _remove_lock(store, name)
    return tuple(gone)


def _remove_one(store: Store, leftover: Leftover) -> bool:
    if leftover.kind == "lock":
        return _remove_lock(store, leftover.lock)
    with _held_here(store, leftover.lock) as ours:
        if ours:
            shutil.rmtree(leftover.path, ignore_errors=True)
    return not leftover.path.exists()


def _remove_lock(store: Store, name: str) -> bool:
    """Unlinks a lock's file while holding it: whoever waits for it opens a new one."""
    with _held_here(store, name) as ours:
        if ours:
            _lock_path(store, name).unlink(missing_ok=True)
        return ours


@contextmanager
def _held_here(store: Store, name: str) -> Iterator[bool]:
    """Holds a lock, if nobody else does."""
    from filelock import Timeout

    lock = store.lock(name)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _is_held(store: Store, name: str) -> bool:
    with _held_here(store, name) as ours:
        return not ours


def _partials(store: Store) -> Iterator[Leftover]:
    for area, prefix in (("distilled", ""), ("fits", ""), ("arrays", "arrays-")):
        for path in _folders(store.artifacts / area, partial=True):
            lock = f"{prefix}{path.name.removesuffix(_PARTIAL)}"
            yield _leftover("partial", path, lock, "a write that was cut off")


def _work(store: Store, results: Results) -> Iterator[Leftover]:
    fit_of = {record.key: record.fit_key for record in results}
    for path in _folders(store.artifacts / "work"):
        key = path.name
        done = key in fit_of or store.distilled_path(key).is_dir() or store.fit_path(key).is_dir()
        reason = "the stage is finished" if done else "an interrupted stage would go on from it"
        # The evaluation of a fit is made under the lock of the fit.
        yield _leftover("work", path, fit_of.get(key, key), reason, useful=not done)


def _fits(store: Store) -> Iterator[Leftover]:
    for path in _folders(store.artifacts / "fits"):
        reason = "weights; an evaluator that has not seen them would need them fitted again"
        yield _leftover("fit", path, path.name, reason, useful=True)


def _distilled(store: Store, results: Results) -> Iterator[Leftover]:
    used = {record.distill_key for record in results}
    for path in _folders(store.artifacts / "distilled"):
        if path.name not in used:
            yield _leftover("distilled", path, path.name, "no record uses it", useful=True)


def _arrays(store: Store) -> Iterator[Leftover]:
    for path in _folders(store.artifacts / "arrays"):
        reason = "records need no shared arrays; distilling anew would compute them again"
        yield _leftover("arrays", path, f"arrays-{path.name}", reason, useful=True)


def _locks(store: Store) -> Iterator[Leftover]:
    for name in _lock_names(store):
        path = _lock_path(store, name)
        yield Leftover("lock", path, path.lstat().st_size, name, "nobody holds it")


def _leftover(
    kind: LeftoverKind, path: Path, lock: str, reason: str, *, useful: bool = False
) -> Leftover:
    return Leftover(kind, path, _bytes_below(path), lock, reason, useful)


def _folders(area: Path, *, partial: bool = False) -> list[Path]:
    """The stages' folders of one area, whole or partial; links are left alone."""
    if not area.is_dir():
        return []
    with os.scandir(area) as entries:
        return sorted(
            Path(entry)
            for entry in entries
            if entry.is_dir(follow_symlinks=False) and entry.name.endswith(_PARTIAL) == partial
        )


def _lock_names(store: Store) -> list[str]:
    files = (store.artifacts / "locks").glob(f"*{_LOCK}")
    return sorted(path.name.removesuffix(_LOCK) for path in files)


def _lock_path(store: Store, name: str) -> Path:
    return store.artifacts / "locks" / f"{name}{_LOCK}"


def _bytes_below(folder: Path) -> int:
    return sum(
        os.lstat(os.path.join(parent, name)).st_size
        for parent, _, names in os.walk(folder)
        for name in names
    )
