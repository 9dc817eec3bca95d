"""Pairs of rows to compare: by task, student, evaluator, method and budget."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.budget import Budget
from harness.errors import UsageError
from harness.leaderboard.grouping import RowGroup, TableKey, group_tables
from harness.records.results import Results

Tables = Mapping[TableKey, Sequence[RowGroup]]


@dataclass(frozen=True)
class RowPair:
    """Two rows of one task, student and evaluator."""

    table: TableKey
    first: RowGroup
    second: RowGroup

    @property
    def label(self) -> str:
        """`herding @ 20/class`, or `herding – k-means @ 20/class` for two methods."""
        a, b = self.first, self.second
        if a.budget != b.budget:
            return f"{row_label(a)} – {row_label(b)}"
        methods = a.distiller if a.distiller == b.distiller else f"{a.distiller} – {b.distiller}"
        return f"{methods} @ {a.budget}"


@dataclass(frozen=True)
class Matched:
    """The pairs, and the rows that stand alone, each with the reason."""

    pairs: tuple[RowPair, ...]
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class MethodName:
    """A method as named on the command line: `herding`, `bert:minilm@20/class`.

    budget: None when none was given.
    """

    text: str
    method: str
    budget: str | None

    @classmethod
    def parse(cls, text: str, methods: Collection[str]) -> MethodName:
        """Splits at the last `@`, unless the whole text is a method's name.

        Raises:
            UsageError: what follows the `@` is not a budget.
        """
        if text in methods:
            return cls(text, text, None)
        method, _, budget = text.rpartition("@")
        return cls(text, method.strip(), str(Budget.parse(budget)))


def row_label(group: RowGroup) -> str:
    return f"{group.distiller} @ {group.budget}"


def is_method(text: str, methods: Collection[str]) -> bool:
    """Whether a text is a method's name, alone or with `@BUDGET`."""
    return text in methods or text.rpartition("@")[0].strip() in methods


def method_names(results: Results) -> frozenset[str]:
    """Every way to name a method of these records: `dilm`, `dilm:small`, `dilm [steps=5]`."""
    groups = [group for rows in _tables(results).values() for group in rows]
    return frozenset(name for group in groups for name in _names(group))


def match_methods(results: Results, first: str, second: str) -> Matched:
    """Two methods in every table that has both, at the budgets that both have.

    A budget that is given on one side holds for the other, where that one has it. Methods that
    have one budget each are compared whatever these are, as `full` with any other.

    Raises:
        UsageError: a name fits several configurations, both name the same rows, or they share
            no table or budget.
    """
    tables = _tables(results)
    methods = method_names(results)
    a, b = MethodName.parse(first, methods), MethodName.parse(second, methods)
    pairs: list[RowPair] = []
    alone: list[str] = []
    for table, groups in tables.items():
        rows_a, rows_b = _by_budget(groups, a), _by_budget(groups, b)
        found = [RowPair(table, rows_a[x], rows_b[y]) for x, y in _budgets(rows_a, rows_b)]
        pairs += found
        if a.budget is None and b.budget is None:
            alone += _alone(table, found, list(rows_a.values()), list(rows_b.values()))
    if not pairs:
        raise UsageError(
            f"'{first}' and '{second}' have no row to compare",
            hint=f"{_where(tables, a)}; {_where(tables, b)}.",
        )
    if any(pair.first is pair.second for pair in pairs):
        raise UsageError(f"'{first}' and '{second}' are the same row")
    return Matched(tuple(pairs), tuple(alone))


def match_runs(first: Results, second: Results) -> Matched:
    """The rows of two sets of records: by name and budget, whatever else has changed.

    Raises:
        UsageError: no row is in both.
    """
    tables_a, tables_b = _tables(first), _tables(second)
    pairs: list[RowPair] = []
    alone: list[str] = []
    for table in sorted({*tables_a, *tables_b}):
        rows_a, rows_b = list(tables_a.get(table, ())), list(tables_b.get(table, ()))
        found = [RowPair(table, a, b) for a, b in _matching(rows_a, rows_b)]
        pairs += found
        alone += _alone(table, found, rows_a, rows_b)
    if not pairs:
        raise UsageError("A and B have no row in common", hint=f"{'; '.join(alone)}.")
    return Matched(tuple(pairs), tuple(alone))


def _alone(
    table: TableKey, pairs: Sequence[RowPair], first: Sequence[RowGroup], second: Sequence[RowGroup]
) -> list[str]:
    """The rows of a table that no pair holds, with the side that has them."""
    paired = {id(group) for pair in pairs for group in (pair.first, pair.second)}
    return [
        f"{' · '.join(table)} / {row_label(group)}: only in {side}"
        for side, rows in (("A", first), ("B", second))
        for group in rows
        if id(group) not in paired
    ]


def _matching(
    first: Sequence[RowGroup], second: Sequence[RowGroup]
) -> list[tuple[RowGroup, RowGroup]]:
    """Rows of the same shown name; then rows that are the only ones left of their label."""
    by_label = {row_label(group): group for group in second}
    found = [(a, by_label[row_label(a)]) for a in first if row_label(a) in by_label]
    taken = {id(group) for pair in found for group in pair}
    left = [[group for group in side if id(group) not in taken] for side in (first, second)]
    for group in left[0]:
        rivals = [[g for g in side if _place(g) == _place(group)] for side in left]
        if len(rivals[0]) == len(rivals[1]) == 1:
            found.append((group, rivals[1][0]))
    return found


def _place(group: RowGroup) -> tuple[str, str]:
    return group.records[0].distiller.label, group.budget


def _tables(results: Results) -> dict[TableKey, Sequence[RowGroup]]:
    tables = group_tables(results.records, (), expected=(), allow_mixed=True)
    return {
        table.key: sorted(table.rows, key=lambda g: (g.records[0].parsed_budget, g.distiller))
        for table in tables
    }


def _names(group: RowGroup) -> tuple[str, str, str]:
    """From the most to the least telling."""
    return group.distiller, group.records[0].distiller.label, group.name


def _by_budget(groups: Sequence[RowGroup], wanted: MethodName) -> dict[str, RowGroup]:
    """The rows of a method by budget, without those of another budget than was given."""
    found: dict[str, RowGroup] = {}
    for budget in dict.fromkeys(group.budget for group in groups):
        if wanted.budget not in (None, budget):
            continue
        rows = [group for group in groups if group.budget == budget]
        matching = _most_telling(rows, wanted.method)
        if len(matching) > 1:
            names = " or ".join(f"'{group.distiller}'" for group in matching)
            raise UsageError(
                f"'{wanted.text}' fits {len(matching)} rows at {budget}", hint=f"Name {names}."
            )
        if matching:
            found[budget] = matching[0]
    return found


def _most_telling(groups: Sequence[RowGroup], method: str) -> list[RowGroup]:
    for level in range(3):
        if found := [group for group in groups if _names(group)[level] == method]:
            return found
    return []


def _budgets(first: Iterable[str], second: Iterable[str]) -> list[tuple[str, str]]:
    a, b = list(first), list(second)
    if common := [budget for budget in a if budget in b]:
        return [(budget, budget) for budget in common]
    return [(a[0], b[0])] if len(a) == len(b) == 1 else []


def _where(tables: Tables, name: MethodName) -> str:
    bare = MethodName(name.text, name.method, None)
    places = [
        f"{' · '.join(table)} at {', '.join(budgets)}"
        for table, groups in tables.items()
        if (budgets := _by_budget(groups, bare))
    ]
    return f"{name.method} is in {' and '.join(places)}"
