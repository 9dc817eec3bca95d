"""Records grouped into tables and rows, refusing what cannot stand side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.budget import Budget
from harness.errors import UsageError
from harness.leaderboard.table import SeedPair
from harness.records.failure import Failure
from harness.records.record import ComponentRecord, Record

if TYPE_CHECKING:
    import numpy as np

TableKey = tuple[str, str, str]
"""Labels of task, student and evaluator."""
Configuration = tuple[tuple[str, str], ...]
"""Everything that makes two uses of a distiller two methods, as sorted (name, value)."""

_SHARED: dict[str, Callable[[Record], str]] = {
    "task version": lambda r: str(r.task.version),
    "task fingerprint": lambda r: r.task.fingerprint,
    "test fingerprint": lambda r: r.task.test_fingerprint,
    "student version": lambda r: r.student.component.version,
    "student weights": lambda r: r.student.component.fingerprint or r.student.source,
    "evaluator version": lambda r: r.evaluator.version,
    "protocol": lambda r: r.protocol,
}


@dataclass(frozen=True)
class RowGroup:
    """The records of one method, configuration and budget, with the runs it should have.

    distiller: the name shown, with what sets it apart from other configurations.
    """

    distiller: str
    name: str
    budget: str
    records: tuple[Record, ...]
    failed: frozenset[SeedPair]
    expected: frozenset[SeedPair]

    @property
    def pairs(self) -> frozenset[SeedPair]:
        return frozenset(seed_pair(record) for record in self.records)

    @property
    def is_complete(self) -> bool:
        return self.pairs == self.expected

    @property
    def is_reference(self) -> bool:
        """Whether its method says that it is none, but what methods are looked at beside."""
        return any(record.distiller.reference for record in self.records)

    @property
    def has_one_set(self) -> bool:
        """Whether all distilling seeds have one set of the train rows, so that it is one draw.

        The whole train split is no draw, nor is no row at all.
        """
        budget = Budget.parse(self.budget)
        seeds = {record.distill_seed for record in self.records}
        sets = {record.distilled.content for record in self.records}
        return len(sets) == 1 < len(seeds) and not (budget.is_whole or budget.is_nothing)

    def items_by_seed(self) -> dict[int, np.ndarray]:
        """[items] mean item scores for each distilling seed, over its fitting seeds."""
        import numpy as np

        seeds: dict[int, list[np.ndarray]] = {}
        for record in sorted(self.records, key=seed_pair):
            seeds.setdefault(record.distill_seed, []).append(record.item_scores)
        return {seed: np.stack(rows).mean(axis=0, dtype=np.float64) for seed, rows in seeds.items()}

    def by_seed(self, measure: Callable[[Record], float]) -> dict[int, float]:
        """The mean of a measure for each distilling seed: over its fitting seeds, then."""
        import numpy as np

        cells: dict[SeedPair, list[float]] = {}
        for record in self.records:
            cells.setdefault(seed_pair(record), []).append(measure(record))
        seeds: dict[int, list[float]] = {}
        for (distill_seed, _), values in sorted(cells.items()):
            seeds.setdefault(distill_seed, []).append(float(np.mean(values)))
        return {seed: float(np.mean(values)) for seed, values in seeds.items()}


@dataclass(frozen=True)
class TableGroup:
    """The records and row groups of one task, student and evaluator.

    mixed: what differs among them although it should not, as `name: value (count), ...`.
    """

    key: TableKey
    records: tuple[Record, ...]
    rows: tuple[RowGroup, ...]
    mixed: tuple[str, ...]


def group_tables(
    records: Iterable[Record],
    failures: Iterable[Failure],
    *,
    expected: Collection[SeedPair],
    allow_mixed: bool,
) -> list[TableGroup]:
    """Tables in the order of their names; the order of the input changes nothing.

    Raises:
        UsageError: records of one table differ in task, student or evaluator version, in a
            fingerprint or in protocol, and `allow_mixed` is not set; or they differ in the
            metric that ranks; or two of them are the same run.
    """
    tables: dict[TableKey, list[Record]] = {}
    for record in sorted(records, key=lambda r: r.key):
        tables.setdefault(_table_key(record), []).append(record)
    failed: dict[TableKey, list[Failure]] = {}
    for failure in failures:
        key = (failure.task, failure.student, failure.evaluator)
        failed.setdefault(key, []).append(failure)
    return [
        _table(key, tables[key], failed.get(key, []), expected, allow_mixed)
        for key in sorted(tables)
    ]


def seed_pair(record: Record) -> SeedPair:
    return record.distill_seed, record.fit_seed


def _table_key(record: Record) -> TableKey:
    return record.task.component.label, record.student.component.label, record.evaluator.label


def _table(
    key: TableKey,
    records: Sequence[Record],
    failures: Sequence[Failure],
    expected: Collection[SeedPair],
    allow_mixed: bool,
) -> TableGroup:
    title = " · ".join(key)
    if len({record.main for record in records}) > 1:
        raise UsageError(
            f"{title}: the metric that ranks differs: {_counts(r.main for r in records)}"
        )
    mixed = _differences(records)
    if not allow_mixed:
        _refuse(title, mixed)
        _refuse_duplicates(title, records)
    pairs = frozenset(
        {seed_pair(record) for record in records}
        | {(failure.distill_seed, failure.fit_seed) for failure in failures}
        | set(expected)
    )
    return TableGroup(key, tuple(records), tuple(_rows(records, failures, pairs)), mixed)


def _differences(records: Sequence[Record]) -> tuple[str, ...]:
    return tuple(
        f"{name} {_counts(read(record) for record in records)}"
        for name, read in _SHARED.items()
        if len({read(record) for record in records}) > 1
    )


def _refuse(title: str, mixed: Sequence[str]) -> None:
    if mixed:
        raise UsageError(
            f"{title}: these records cannot stand in one table; they differ in {'; '.join(mixed)}",
            hint="Keep one protocol to a results folder, or allow mixing (--allow-mixed).",
        )


def _refuse_duplicates(title: str, records: Sequence[Record]) -> None:
    seen: dict[Any, Record] = {}
    for record in records:
        run = (_configuration(record.distiller), record.budget, seed_pair(record))
        if run in seen:
            raise UsageError(
                f"{title}: records {seen[run].key} and {record.key} are the same run:"
                f" {record.distiller.label} @ {record.budget}, seeds {seed_pair(record)}",
                hint="Take one of the two files out of the folder.",
            )
        seen[run] = record


def _counts(values: Iterable[str]) -> str:
    counted = sorted(Counter(values).items())
    return ", ".join(f"{_short(value)} ({count} records)" for value, count in counted)


def _short(value: str) -> str:
    return value if len(value) <= 32 else f"{value[:16]}…{value[-8:]}"


def _rows(
    records: Sequence[Record], failures: Sequence[Failure], expected: frozenset[SeedPair]
) -> Iterator[RowGroup]:
    groups: dict[tuple[Configuration, str], list[Record]] = {}
    for record in records:
        groups.setdefault((_configuration(record.distiller), record.budget), []).append(record)
    shown = _configuration_labels({c: g[0].distiller.label for (c, _), g in groups.items()})
    unplaced: dict[tuple[str, str], set[SeedPair]] = {}
    for failure in failures:
        pairs = unplaced.setdefault((failure.distiller, failure.budget), set())
        pairs.add((failure.distill_seed, failure.fit_seed))
    known = {(group[0].distiller.label, budget) for (_, budget), group in groups.items()}
    for (configuration, budget), group in groups.items():
        distiller = group[0].distiller
        missing = expected - {seed_pair(record) for record in group}
        failed = unplaced.get((distiller.label, budget), set()) & missing
        unplaced[distiller.label, budget] = unplaced.get((distiller.label, budget), set()) - failed
        yield RowGroup(
            shown[configuration], distiller.name, budget, tuple(group), frozenset(failed), expected
        )
    for (label, budget), pairs in unplaced.items():
        if pairs:
            title = f"{label} [another configuration]" if (label, budget) in known else label
            name = label.partition(":")[0]
            yield RowGroup(title, name, budget, (), frozenset(pairs), expected)


def _configuration(distiller: ComponentRecord) -> Configuration:
    import json

    options = {name: json.dumps(value) for name, value in distiller.options.items()}
    about = {  # names with a space cannot be those of options
        "full label": distiller.label,
        "plugin version": distiller.version,
        "plugin name": distiller.plugin,
        "distribution name": distiller.distribution,
        "content fingerprint": distiller.fingerprint,
    }
    return tuple(sorted({**options, **about}.items()))


def _configuration_labels(labels: Mapping[Configuration, str]) -> dict[Configuration, str]:
    """The label of each configuration, with the settings that tell apart those that share one.

    A setting that most of them have is left out, so that a method and its ablations are named by
    what each ablation changes.
    """
    shown = {}
    for configuration, label in labels.items():
        rivals = [dict(other) for other, name in labels.items() if name == label]
        own = dict(configuration)
        names = sorted({name for rival in rivals for name in rival})
        usual = {name: _most_common([rival.get(name) for rival in rivals]) for name in names}
        settings = ", ".join(
            f"{name}={own[name]}" for name in names if name in own and own[name] != usual[name]
        )
        shown[configuration] = f"{label} [{settings}]" if settings else label
    return shown


def _most_common(values: Sequence[str | None]) -> str | None:
    """The value that more have than any other; None where there is no such or some have none."""
    (first, most), *others = Counter(values).most_common(2)
    return first if None not in values and (not others or most > others[0][1]) else None
