"""Differences in settings: methods, options, recipe, versions, data and machine of both sides."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from harness.comparison.findings import Change
from harness.records.record import ComponentRecord, Record

NOTHING = "–"
METHOD_OPTION = "method option "
_SHOWN = 16
"""Characters of a fingerprint: enough to tell two apart."""


def changes(rows: Mapping[str, tuple[Sequence[Record], Sequence[Record]]]) -> tuple[Change, ...]:
    """Everything that differs between the runs of A and of B, in the order of a record.

    rows: label of a row -> its runs of A and of B. A value that varies among the runs of one
    side, as a tuned learning rate does, is a list of all its values.
    """
    found: dict[tuple[str, str, str], list[str]] = {}
    for label, (first, second) in rows.items():
        a, b = _values(first), _values(second)
        for name in dict.fromkeys([*a, *b]):
            before, after = a.get(name, NOTHING), b.get(name, NOTHING)
            if before != after:
                found.setdefault((name, before, after), []).append(label)
    return tuple(
        Change(name, before, after, () if len(labels) == len(rows) else tuple(labels))
        for (name, before, after), labels in found.items()
    )


def _values(records: Iterable[Record]) -> dict[str, str]:
    values: dict[str, set[str]] = {}
    for record in records:
        for name, value in _facts(record):
            values.setdefault(name, set()).add(_shown(value))
    return {name: ", ".join(sorted(found)) for name, found in values.items()}


def _facts(record: Record) -> Iterator[tuple[str, Any]]:
    """The names and values of one run that can explain a difference in its score."""
    task, student = record.task, record.student
    yield from _component("method", record.distiller)
    yield "budget", record.budget
    yield "set rows", record.distilled.rows
    yield "splits that the method read", record.distilled.used_splits
    yield from _component("task", task.component)
    yield "data version", task.version
    yield "data fingerprint", task.fingerprint[:_SHOWN]
    yield "test fingerprint", task.test_fingerprint[:_SHOWN]
    yield "data source", f"{task.source_kind} {task.source_detail}"
    yield from _component("student", student.component)
    yield "student variant", student.variant
    yield "student weights", student.source
    yield "student parameters", student.parameters
    yield from _component("evaluator", record.evaluator)
    for name, value in record.recipe.items():
        yield f"recipe {name}", value
    yield "learning rates tried", record.tuning.grid
    yield "suite", f"{record.suite} v{record.suite_version}"
    yield "protocol", record.protocol
    yield from _provenance(record)


def _component(kind: str, component: ComponentRecord) -> Iterator[tuple[str, Any]]:
    yield kind, component.label
    yield f"{kind} version", component.version
    yield f"{kind} plugin", f"{component.plugin} of {component.distribution}"
    yield f"{kind} fingerprint", component.fingerprint[:_SHOWN]
    for name, value in sorted(component.options.items()):
        yield f"{kind} option {name}", value


def _provenance(record: Record) -> Iterator[tuple[str, Any]]:
    made = record.provenance
    yield "commit", f"{made.commit or 'not in a checkout'}{' (dirty)' if made.dirty else ''}"
    yield "harness", made.harness
    yield "python", made.python
    yield from sorted(made.packages.items())
    yield "platform", made.platform
    yield "processor", made.processor
    yield "cores", made.cores
    yield "threads", made.threads
    yield "device", made.device


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(_shown(part) for part in value) or NOTHING
    return NOTHING if value in ("", None) else str(value)
