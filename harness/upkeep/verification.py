"""Verification of records: each on its own, with one another, and against item outcomes."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from harness.errors import HarnessError, MissingDependencyError, UsageError
from harness.plugins import PluginHost
from harness.protocols import Recomputing
from harness.records.merging import conflicts
from harness.records.record import ComponentRecord, PackedArray, Record
from harness.records.results import RECORDS, load_records
from harness.registry.components import resolve
from harness.upkeep.record_checks import breaches

Level = Literal["error", "remark"]
TOLERANCE = 1e-6
"""Difference up to which two values of a metric count as one: items may be kept in float32."""
_SHOWN = 12
"""Digits shown of a fingerprint."""


@dataclass(frozen=True)
class Finding:
    """Something wrong (`error`), or something to know (`remark`).

    check: the short name of the rule; where: a file, or how many records.
    """

    level: Level
    check: str
    where: str
    text: str


@dataclass(frozen=True)
class Verification:
    """What was checked, and what was found.

    recomputed: records whose metrics were computed again from their item outcomes.
    """

    records: int
    failures: int
    recomputed: int
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.level == "error")

    @property
    def remarks(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.level == "remark")


@dataclass(frozen=True)
class _Located:
    path: Path
    record: Record


def verify(folders: Sequence[Path], host: PluginHost) -> Verification:
    """Checks every record of some results folders; changes nothing.

    Args:
        host: its evaluators compute metrics again, and its versions are compared.

    Raises:
        UsageError: a folder does not exist or holds nothing to read.
    """
    findings: list[Finding] = []
    located: list[_Located] = []
    failures = 0
    for folder in {folder.resolve(): folder for folder in folders}.values():
        results = load_records(folder)
        failures += len(results.failures)
        located += [_Located(folder / RECORDS / f"{r.key}.json", r) for r in results]
        findings += [_error("readable", p.path, p.reason) for p in results.problems]
    for one in located:
        found = breaches(one.record)
        findings += [_error(breach.check, one.path, breach.text) for breach in found]
    findings += [*_same_run(located), *_same_data(located), *_same_targets(located)]
    again = _Recomputation(host)
    for one in located:
        findings += [_error("metrics", one.path, text) for text in again.disagreements(one.record)]
    findings += [*again.remarks(), *_version_remarks(located, host)]
    return Verification(len(located), failures, again.recomputed, tuple(findings))


@dataclass
class _Recomputation:
    """Metrics computed again by the installed evaluators, and why some were not."""

    host: PluginHost
    recomputed: int = 0
    _reasons: Counter[str] = field(default_factory=Counter)
    _evaluators: dict[str, Recomputing | str] = field(default_factory=dict)

    def disagreements(self, record: Record) -> Iterator[str]:
        evaluator = self._evaluator(record.evaluator)
        if isinstance(evaluator, str):
            self._reasons[evaluator] += 1
            return
        items = {name: packed.unpack() for name, packed in record.items.items()}
        try:
            again = evaluator.recompute(items, record.task)
        except HarnessError as error:
            yield error.message
            return
        except Exception as error:
            yield f"evaluator '{record.evaluator.name}' failed: {type(error).__name__}: {error}"
            return
        self.recomputed += 1
        if record.main not in again:
            self._reasons[f"{record.main} does not follow from the item outcomes alone"] += 1
        for name, value in again.items():
            stored = record.metrics.get(name)
            if stored is None:
                yield f"{name} is missing, the item outcomes give {value:.6f}"
            elif abs(stored - value) > TOLERANCE:
                yield f"{name} is {stored:.6f}, the item outcomes give {value:.6f}"

    def remarks(self) -> Iterator[Finding]:
        for reason, count in sorted(self._reasons.items()):
            yield _remark("metrics", count, f"not recomputed: {reason}")

    def _evaluator(self, used: ComponentRecord) -> Recomputing | str:
        """The evaluator that a record was made with, or why there is none."""
        identity = json.dumps([used.name, used.version, used.options], sort_keys=True)
        if identity not in self._evaluators:
            self._evaluators[identity] = self._find(used)
        return self._evaluators[identity]

    def _find(self, used: ComponentRecord) -> Recomputing | str:
        component = self.host.registry.of("evaluator").get(used.name)
        if component is None:
            return f"evaluator '{used.name}' is not installed"
        if component.version != used.version:
            return (
                f"evaluator '{used.name}' is installed in version {component.version},"
                f" the records have {used.version}"
            )
        try:
            evaluator = resolve(component, "", used.options).instance
        except (UsageError, MissingDependencyError) as error:
            return error.message
        if not isinstance(evaluator, Recomputing):
            return f"evaluator '{used.name}' cannot tell its metrics from item outcomes"
        return evaluator


def _same_run(located: Sequence[_Located]) -> Iterator[Finding]:
    """Records of one key in several folders, which may not contradict one another."""
    first: dict[str, _Located] = {}
    for one in located:
        earlier = first.setdefault(one.record.key, one)
        differing = [] if earlier is one else conflicts(earlier.record, one.record)
        if differing:
            text = f"differs from {earlier.path}, the same run, in {', '.join(differing)}"
            yield _error("same run", one.path, text)


def _same_data(located: Sequence[_Located]) -> Iterator[Finding]:
    yield from _disagreements(
        located,
        lambda r: (r.task.component.label, r.task.version),
        lambda r: r.task.fingerprint,
        "data",
        "{place[0]} version {place[1]} has the fingerprint {value}",
    )
    yield from _disagreements(
        located,
        lambda r: r.task.fingerprint,
        lambda r: r.task.test_fingerprint,
        "data",
        "the task's test rows have the fingerprint {value}",
    )


def _same_targets(located: Sequence[_Located]) -> Iterator[Finding]:
    yield from _disagreements(
        [one for one in located if "target" in one.record.items],
        _scored_items,
        lambda r: _content(r.items["target"]),
        "targets",
        "the targets of the test rows have the content {value}",
    )


def _scored_items(record: Record) -> str:
    """Which items a record scored: those of the test split, or what its evaluator made of them."""
    if record.scored is None:
        return record.task.test_fingerprint
    evaluator = record.evaluator
    identity = [evaluator.name, evaluator.version, evaluator.options, evaluator.fingerprint]
    used = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return f"{record.task.test_fingerprint} {used}"


def _disagreements(
    located: Sequence[_Located],
    place: Callable[[Record], Any],
    value: Callable[[Record], str],
    check: str,
    text: str,
) -> Iterator[Finding]:
    """One finding for each value of a place that is not its most common one."""
    found: dict[Any, dict[str, list[Path]]] = {}
    for one in located:
        values = found.setdefault(place(one.record), {})
        values.setdefault(value(one.record), []).append(one.path)
    for where in sorted(found):
        usual, *others = sorted(found[where].items(), key=lambda item: (-len(item[1]), item[0]))
        for other, paths in others:
            said = text.format(place=where, value=f"{other[:_SHOWN]}… in {len(paths)} records")
            yield _error(
                check,
                paths[0],
                f"{said}, but {usual[0][:_SHOWN]}… in {len(usual[1])}, as in {usual[1][0]}",
            )


@lru_cache(maxsize=64)
def _content(packed: PackedArray) -> str:
    """Hash of an array's values, whatever they were packed by."""
    import numpy as np

    return hashlib.sha256(packed.unpack().astype(np.float64).tobytes()).hexdigest()


def _version_remarks(located: Sequence[_Located], host: PluginHost) -> Iterator[Finding]:
    used: Counter[tuple[str, str, str]] = Counter()
    for one in located:
        record = one.record
        for kind, component in (
            ("task", record.task.component),
            ("distiller", record.distiller),
            ("student", record.student.component),
            ("evaluator", record.evaluator),
        ):
            used[kind, component.name, component.version] += 1
    for (kind, name, version), count in sorted(used.items()):
        installed = host.registry.of(kind).get(name)  # type: ignore[arg-type]
        if installed is None:
            yield _remark("versions", count, f"{kind} '{name}' is not installed")
        elif installed.version != version:
            text = f"{kind} '{name}' was version {version}, {installed.version} is installed"
            yield _remark("versions", count, text)


def _error(check: str, path: Path, text: str) -> Finding:
    return Finding("error", check, str(path), text)


def _remark(check: str, count: int, text: str) -> Finding:
    return Finding("remark", check, f"{count} records", text)
