"""The leaderboard: a table for each task, student and evaluator, and what they say together."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from harness.errors import HarnessWarning, UsageError, unknown_name
from harness.leaderboard.facts import board_facts, table_facts
from harness.leaderboard.grouping import TableGroup, group_tables
from harness.leaderboard.overview import Ranking, Transfer, rankings, transfers
from harness.leaderboard.scoring import score_rows
from harness.leaderboard.table import RANDOM, Fact, Row, SeedPair, Table
from harness.records.record import Record
from harness.records.results import Results


@dataclass(frozen=True)
class BoardSource:
    """What a board was made from and how: see `build_board`."""

    results: Results
    expected: tuple[SeedPair, ...]
    allow_mixed: bool
    baseline: str
    reference: str

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that every record of some table has, the main ones first."""
        shared = {name for record in self.results for name in record.metrics}
        main = {record.main for record in self.results}
        return tuple(sorted(shared, key=lambda name: (name not in main, name)))

    def board(self, metric: str) -> Board:
        """The board of the same records under another metric."""
        return build_board(
            self.results,
            expected=self.expected,
            allow_mixed=self.allow_mixed,
            baseline=self.baseline,
            reference=self.reference,
            metric=metric,
        )


@dataclass(frozen=True)
class Board:
    """Tables, what they say together, and the facts that hold for all of them.

    made: the records behind it, for formats that show more than the tables.
    extra_columns: title -> row label -> text, as plugins add them; a row label is `dilm @
    10/class` for that row of every table, or `TABLE TITLE / dilm @ 10/class` for one.
    """

    tables: tuple[Table, ...]
    facts: tuple[Fact, ...]
    rankings: tuple[Ranking, ...] = ()
    transfers: tuple[Transfer, ...] = ()
    made: BoardSource | None = field(default=None, compare=False)
    extra_columns: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def with_columns(self, answers: Iterable[Any]) -> Board:
        """The board with the columns that plugins answered; equal titles are numbered.

        An answer that is not title -> row label -> text is left out with a `HarnessWarning`.
        """
        columns = dict(self.extra_columns)
        for answer in answers:
            if answer is None:
                continue
            if not _is_columns(answer):
                warnings.warn(
                    "a plugin's leaderboard columns are left out: they should be a mapping"
                    f" title -> row label -> text, got {answer!r:.80}",
                    HarnessWarning,
                    stacklevel=2,
                )
                continue
            for title, cells in answer.items():
                columns[_unused(str(title), columns)] = {
                    str(row): str(text) for row, text in cells.items()
                }
        return replace(self, extra_columns=columns)

    def extra_cell(self, title: str, table: Table, row: Row) -> str:
        """A plugin's text for one row, or nothing."""
        cells = self.extra_columns[title]
        return cells.get(f"{table.title} / {row.label}", cells.get(row.label, ""))


def build_board(
    results: Results,
    *,
    expected: Collection[SeedPair] = (),
    allow_mixed: bool = False,
    baseline: str = RANDOM,
    reference: str = "full",
    metric: str = "",
) -> Board:
    """Groups, scores, compares and ranks; the order of the records changes nothing.

    Args:
        expected: runs that every row should have, besides those that any row of its table has.
        allow_mixed: put different protocols and versions into one table, and say so under it.
        baseline: the distiller that others are compared with at the same budget; where the
            budget is the whole train split and it has no row there, it is the reference.
        reference: the distiller that is shown but not ranked.
        metric: that ranks, instead of each task's main one.

    Raises:
        UsageError: there are no records, some cannot stand in one table (see
            `harness.leaderboard.grouping.group_tables`), none has the metric, or no method is
            called as the baseline, unless that is random.
    """
    if not results.records:
        raise UsageError("there are no records to rank", hint=_reason(results))
    groups = group_tables(
        results.records, results.failures, expected=expected, allow_mixed=allow_mixed
    )
    groups = [group for group in groups if not metric or _has_metric(group, metric)]
    if not groups:
        known = sorted({name for record in results.records for name in record.metrics})
        raise unknown_name("metric", metric, known)
    _refuse_unknown_baseline(groups, baseline)
    tables = tuple(_table(group, baseline, reference, metric) for group in groups)
    records = [record for group in groups for record in group.records]
    return Board(
        tables,
        board_facts(results, groups),
        rankings=rankings(tables),
        transfers=transfers(tables, records),
        made=BoardSource(results, tuple(expected), allow_mixed, baseline, reference),
    )


def _table(group: TableGroup, baseline: str, reference: str, metric: str) -> Table:
    metric = metric or group.records[0].main

    def measure(record: Record) -> float:
        return record.metrics[metric]

    rows = score_rows(group.rows, measure=measure, baseline=baseline, reference=reference)
    task, student, evaluator = group.key
    return Table(
        task=task,
        student=student,
        evaluator=evaluator,
        metric=metric,
        parameters=group.records[0].student.parameters,
        baseline=baseline,
        rows=rows,
        facts=table_facts(group, rows, baseline=baseline),
    )


def _refuse_unknown_baseline(groups: Sequence[TableGroup], baseline: str) -> None:
    known = {row.name for group in groups for row in group.rows}
    if baseline not in {*known, RANDOM}:
        raise unknown_name("baseline", baseline, sorted(known))


def _has_metric(group: TableGroup, metric: str) -> bool:
    return all(metric in record.metrics for record in group.records)


def _is_columns(answer: Any) -> bool:
    return isinstance(answer, Mapping) and all(isinstance(c, Mapping) for c in answer.values())


def _unused(title: str, taken: Collection[str]) -> str:
    name, number = title, 2
    while name in taken:
        name, number = f"{title} ({number})", number + 1
    return name


def _reason(results: Results) -> str:
    if results.failures:
        first = results.failures[0]
        return f"{len(results.failures)} runs failed; the first: {first.error}: {first.message}"
    if results.problems:
        first_problem = results.problems[0]
        return f"{len(results.problems)} files could not be used; the first: {first_problem.reason}"
    return "Run `harness bench` first."
