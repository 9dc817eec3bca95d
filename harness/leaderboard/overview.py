"""Summaries over tables: average ranks over tasks, and transfer to other students."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.budget import Budget
from harness.leaderboard.ranks import AverageRanks, average_ranks
from harness.leaderboard.stats import MeanEstimate, estimate_mean
from harness.leaderboard.table import Row, Table
from harness.records.record import Record


@dataclass(frozen=True)
class Ranking:
    """Methods ranked over the tasks on which all of them were run, at one budget.

    methods: best first, as `result.ranks`; left_out: methods that lack a task.
    """

    student: str
    evaluator: str
    budget: str
    tasks: tuple[str, ...]
    methods: tuple[str, ...]
    result: AverageRanks
    left_out: tuple[str, ...]

    @property
    def title(self) -> str:
        return f"average rank over {len(self.tasks)} tasks · {self.student} · {self.budget}"


@dataclass(frozen=True)
class TransferRow:
    """One method's score with each student, None where it is incomplete.

    held_out: mean over the held-out students of each seed's score; None unless all are there.
    """

    method: str
    by_student: tuple[MeanEstimate | None, ...]
    held_out: MeanEstimate | None


@dataclass(frozen=True)
class Transfer:
    """How sets made with one student's help serve others, on one task at one budget.

    seen_by: the methods of the board whose options name a student, as their proxy or otherwise,
    for each student that has any. `probe:NAME` is seen by whoever names `NAME`.
    """

    task: str
    evaluator: str
    budget: str
    students: tuple[str, ...]
    seen_by: Mapping[str, tuple[str, ...]]
    rows: tuple[TransferRow, ...]

    @property
    def held_out(self) -> frozenset[str]:
        """The students that no distiller of the board has seen."""
        return frozenset(self.students) - frozenset(self.seen_by)

    @property
    def title(self) -> str:
        return f"transfer · {self.task} · {self.budget}"


def rankings(tables: Iterable[Table]) -> tuple[Ranking, ...]:
    """One ranking for each student, evaluator and budget with two tasks and three methods."""
    found = []
    for (student, evaluator), group in _grouped(tables, lambda t: (t.student, t.evaluator)):
        for budget in _budgets(group):
            ranking = _ranking(student, evaluator, budget, group)
            if ranking is not None:
                found.append(ranking)
    return tuple(found)


def transfers(tables: Iterable[Table], records: Iterable[Record]) -> tuple[Transfer, ...]:
    """One matrix of methods and students for each task and budget with two students."""
    named = _names_in_options(records)
    found = []
    for (task, evaluator), group in _grouped(tables, lambda t: (t.task, t.evaluator)):
        if len(group) > 1:
            found += [_transfer(task, evaluator, b, group, named) for b in _budgets(group)]
    return tuple(found)


def _grouped(
    tables: Iterable[Table], key: Callable[[Table], tuple[str, str]]
) -> list[tuple[tuple[str, str], list[Table]]]:
    groups: dict[tuple[str, str], list[Table]] = {}
    for table in tables:
        groups.setdefault(key(table), []).append(table)
    return sorted(groups.items())


def _budgets(tables: Sequence[Table]) -> list[str]:
    budgets = {row.budget for table in tables for row in table.rows if not row.is_reference}
    return sorted(budgets, key=Budget.parse)


def _complete(table: Table, budget: str) -> dict[str, Row]:
    return {
        row.distiller: row
        for row in table.rows
        if row.budget == budget and row.score is not None and not row.is_reference
    }


def _ranking(student: str, evaluator: str, budget: str, tables: Sequence[Table]) -> Ranking | None:
    by_task = {table.task: rows for table in tables if (rows := _complete(table, budget))}
    everyone = {method for rows in by_task.values() for method in rows}
    methods = sorted(m for m in everyone if all(m in rows for rows in by_task.values()))
    if len(by_task) < 2 or len(methods) < 3:
        return None
    scores = [[_mean(rows[method]) for method in methods] for rows in by_task.values()]
    result = average_ranks(scores)
    order = sorted(range(len(methods)), key=lambda i: (result.ranks[i], methods[i]))
    return Ranking(
        student=student,
        evaluator=evaluator,
        budget=budget,
        tasks=tuple(by_task),
        methods=tuple(methods[i] for i in order),
        result=average_ranks([[line[i] for i in order] for line in scores]),
        left_out=tuple(sorted(everyone - set(methods))),
    )


def _mean(row: Row) -> float:
    assert row.score is not None
    return row.score.mean


def _transfer(
    task: str,
    evaluator: str,
    budget: str,
    tables: Sequence[Table],
    named: Mapping[str, frozenset[str]],
) -> Transfer:
    students = tuple(sorted(table.student for table in tables))
    seen_by = {s: seeing for s in students if (seeing := _seeing(s, named))}
    held_out = frozenset(students) - frozenset(seen_by)
    rows = {table.student: _complete(table, budget) for table in tables}
    methods = sorted({method for complete in rows.values() for method in complete})
    lines = [
        _transfer_row(m, [rows[s].get(m) for s in students], students, held_out) for m in methods
    ]
    return Transfer(task, evaluator, budget, students, seen_by, tuple(sorted(lines, key=_best)))


def _transfer_row(
    method: str, rows: Sequence[Row | None], students: Sequence[str], held_out: Collection[str]
) -> TransferRow:
    wanted = [row for row, student in zip(rows, students, strict=True) if student in held_out]
    mean = None
    if wanted and all(row is not None for row in wanted):
        lists = [row.seed_scores for row in wanted if row is not None]
        mean = estimate_mean([sum(s[seed] for s in lists) / len(lists) for seed in lists[0]])
    return TransferRow(method, tuple(row.score if row else None for row in rows), mean)


def _best(row: TransferRow) -> tuple[bool, float, str]:
    return row.held_out is None, -(row.held_out.mean if row.held_out else 0.0), row.method


def _seeing(student: str, named: Mapping[str, frozenset[str]]) -> tuple[str, ...]:
    """The methods that name a student, or the one that it looks through."""
    names = {student, student.partition(":")[2]}
    return tuple(sorted(method for method, known in named.items() if names & known))


def _names_in_options(records: Iterable[Record]) -> dict[str, frozenset[str]]:
    """What the options of each distiller say in words, such as the name of its proxy."""
    found: dict[str, frozenset[str]] = {}
    for record in records:
        words = {v for v in record.distiller.options.values() if isinstance(v, str) and v}
        found[record.distiller.name] = found.get(record.distiller.name, frozenset()) | words
    return found
