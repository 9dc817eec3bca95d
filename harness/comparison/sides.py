"""The two sides of a comparison: two folders, or two methods or commits of one folder."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from harness.comparison.findings import ComparisonKind
from harness.comparison.row_pairs import (
    Matched,
    is_method,
    match_methods,
    match_runs,
    method_names,
)
from harness.errors import UsageError, did_you_mean
from harness.records.results import Problem, Results, load_records
from harness.suite import DEFAULT_FOLDER

_HASH = re.compile(r"[0-9a-f]{4,40}")


@dataclass(frozen=True)
class Sides:
    """The rows to compare, and where they come from."""

    kind: ComparisonKind
    folder: str
    matched: Matched
    problems: tuple[Problem, ...]


def find_sides(first: str, second: str, folder: Path | None) -> Sides:
    """A and B as the first of these that both are: existing folders; methods of the folder;
    commits that its records name.

    Raises:
        UsageError: they are none of these, mean the same, or have nothing in common.
    """
    if Path(first).is_dir() and Path(second).is_dir():
        return _folders(first, second, folder)
    if folder is None and (Path(first).is_dir() or Path(second).is_dir()):
        is_folder, other = (first, second) if Path(first).is_dir() else (second, first)
        raise UsageError(
            f"'{is_folder}' is a folder and '{other}' is not",
            hint="Name two folders, or two methods or commits of one folder with --in FOLDER.",
        )
    if folder is None and not DEFAULT_FOLDER.is_dir():
        raise UsageError(
            f"'{first}' and '{second}' are no folders, and there is no {DEFAULT_FOLDER} to find"
            " them in",
            hint="Name the results folder with --in FOLDER.",
        )
    return _within(first, second, folder or DEFAULT_FOLDER)


def _folders(first: str, second: str, folder: Path | None) -> Sides:
    if folder is not None:
        raise UsageError(
            f"'{first}' and '{second}' are folders, so --in '{folder}' says nothing",
            hint="Leave out --in; or tell a method from a folder as METHOD@BUDGET.",
        )
    if Path(first).resolve() == Path(second).resolve():
        raise UsageError(f"'{first}' and '{second}' are the same folder")
    a, b = load_records(Path(first)), load_records(Path(second))
    return _two_results("folders", "", (first, a), (second, b))


def _within(first: str, second: str, folder: Path) -> Sides:
    results = load_records(folder, missing_ok=folder.is_dir())
    methods = method_names(results)
    if _both(first, second, lambda name: is_method(name, methods)):
        matched = match_methods(results, first, second)
        return Sides("methods", str(folder), matched, results.problems)
    commits = {record.provenance.commit for record in results} - {""}
    if _both(first, second, lambda name: bool(_commits(name, commits))):
        a, b = (_of_commit(results, name, commits) for name in (first, second))
        if a.records == b.records:
            raise UsageError(f"'{first}' and '{second}' are the same commit")
        return _two_results("commits", str(folder), (first, a), (second, b))
    _refuse_failed(first, second, results, methods)
    raise _unrecognised(first, second, folder, methods, commits)


def _two_results(
    kind: ComparisonKind, folder: str, a: tuple[str, Results], b: tuple[str, Results]
) -> Sides:
    for name, results in (a, b):
        if not results.records:
            raise UsageError(
                f"'{name}' holds no finished run: {len(results.failures)} failed,"
                f" {len(results.problems)} files could not be used"
            )
    return Sides(kind, folder, match_runs(a[1], b[1]), a[1].problems + b[1].problems)


def _both(first: str, second: str, is_known: Callable[[str], bool]) -> bool:
    return is_known(first) and is_known(second)


def _commits(prefix: str, commits: Collection[str]) -> list[str]:
    """The recorded commits that a hash means: records keep a shortened one."""
    if not _HASH.fullmatch(prefix):
        return []
    return sorted(c for c in commits if c.startswith(prefix) or prefix.startswith(c))


def _of_commit(results: Results, prefix: str, commits: Collection[str]) -> Results:
    found = _commits(prefix, commits)
    if len(found) > 1:
        raise UsageError(
            f"'{prefix}' is the start of {len(found)} commits: {', '.join(found)}",
            hint="Give more of the hash.",
        )
    return Results(tuple(r for r in results if r.provenance.commit == found[0]))


def _refuse_failed(first: str, second: str, results: Results, methods: Collection[str]) -> None:
    """A method without a record may still be known, for having failed."""
    for name in (first, second):
        method = name.rpartition("@")[0] or name
        failures = [failure for failure in results.failures if failure.distiller == method]
        if failures and not is_method(name, methods):
            raise UsageError(
                f"every run of '{method}' failed",
                hint=f"The first: {failures[0].error}: {failures[0].message}",
            )


def _unrecognised(
    first: str, second: str, folder: Path, methods: Collection[str], commits: Collection[str]
) -> UsageError:
    """Names whichever of the two is known to nobody, with what comes close to it."""
    for name in (first, second):
        if is_method(name, methods) or _commits(name, commits):
            continue
        hint = did_you_mean(name.rpartition("@")[0] or name, methods)
        if commits:
            hint = f"{hint} Commits of its records: {', '.join(sorted(commits))}."
        return UsageError(f"'{name}' is no folder, and no method or commit of {folder}", hint=hint)
    return UsageError(
        f"'{first}' and '{second}' are two different things in {folder}",
        hint="Compare two methods or two commits; a folder with a folder.",
    )
