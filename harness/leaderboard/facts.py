"""The footer of a table: data, protocol, machine, and what is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from harness.budget import Budget
from harness.leaderboard.grouping import TableGroup, seed_pair
from harness.leaderboard.scoring import SIGNIFICANCE
from harness.leaderboard.table import Fact, Row, SeedPair
from harness.records.failure import Failure
from harness.records.record import Record
from harness.records.results import Results

RATE = "learning_rate"


def table_facts(group: TableGroup, rows: Sequence[Row], *, baseline: str) -> tuple[Fact, ...]:
    """What holds for one table."""
    records = group.records
    facts = [
        Fact("data", _distinct(records, _task)),
        Fact("student", _distinct(records, _student)),
        Fact(
            "evaluator", _distinct(records, lambda r: f"{r.evaluator.label} {r.evaluator.version}")
        ),
        Fact("items", _items(records, rows)),
        Fact("seeds", _seeds({seed_pair(record) for record in records}) + _pools(records)),
        Fact("recipe", _recipe(group)),
        Fact("learning rate", _distinct(filter(_is_trained, records), _grid)),
        Fact("comparison", _family(rows, baseline)),
        Fact("protocol", _distinct(records, lambda r: r.protocol)),
    ]
    if group.mixed:
        facts.append(Fact("MIXED", "; ".join(group.mixed)))
    return tuple(facts)


def board_facts(results: Results, tables: Collection[TableGroup]) -> tuple[Fact, ...]:
    """What holds for the whole board."""
    records = results.records
    facts = [
        Fact("suite", _distinct(records, lambda r: f"{r.suite} v{r.suite_version}")),
        Fact("records", str(len(records))),
    ]
    if results.failures:
        facts.append(Fact("failures", _failures(results.failures, tables)))
    if results.problems:
        facts.append(Fact("problems", f"{len(results.problems)} files could not be used"))
    return (
        *facts,
        Fact("hardware", _distinct(records, _hardware), volatile=True),
        Fact("software", _distinct(records, _software), volatile=True),
        Fact("commit", _distinct(records, _commit), volatile=True),
        Fact("dates", _dates(records), volatile=True),
    )


def _distinct(records: Iterable[Record], read: Callable[[Record], str]) -> str:
    return "; ".join(sorted({read(record) for record in records}))


def _task(record: Record) -> str:
    task = record.task
    source = f"{task.source_kind} {task.source_detail}".strip()
    return f"{task.component.label} v{task.version}, fingerprint {task.fingerprint[:12]}, {source}"


def _student(record: Record) -> str:
    student = record.student
    variant = f"variant {student.variant}, " if student.variant else ""
    work = f", {student.multiply_adds:,} multiply-adds a row" if student.multiply_adds else ""
    return f"{variant}{student.parameters:,} parameters{work}, {student.source}"


def _items(records: Sequence[Record], rows: Sequence[Row]) -> str:
    counts = {packed.length for record in records for packed in record.items.values()}
    items = " or ".join(f"{count:,}" for count in sorted(counts)) or "none kept"
    spreads = [100 * row.sampling_sd for row in rows if row.sampling_sd is not None]
    if not spreads:
        return items
    low, high = f"{min(spreads):.1f}", f"{max(spreads):.1f}"
    spread = low if low == high else f"{low} to {high}"
    return f"{items}; drawing others would move one run's score by {spread} points (sd)"


def _seeds(pairs: Collection[SeedPair]) -> str:
    distill = sorted({pair[0] for pair in pairs})
    fit = sorted({pair[1] for pair in pairs})
    if len(pairs) == len(distill) * len(fit):
        return f"distilling {_listed(distill)}; fitting {_listed(fit)}"
    return "distilling/fitting " + ", ".join(f"{d}/{f}" for d, f in sorted(pairs))


def _pools(records: Iterable[Record]) -> str:
    shares = sorted({record.pool for record in records if record.pool < 1})
    drawn = " or ".join(f"{100 * share:g} %" for share in shares)
    return f"; each distilling seed draws {drawn} of train for all methods" if drawn else ""


def _listed(values: Iterable[Any]) -> str:
    return ", ".join(str(value) for value in values)


def _recipe(group: TableGroup) -> str:
    """The recipe of all rows, and what differs for those on the whole train split."""
    trained = list(filter(_is_trained, group.records))
    common = _recipes(r for r in trained if not r.parsed_budget.is_whole)
    whole = _recipes(r for r in trained if r.parsed_budget.is_whole)
    if not common or not whole or common == whole:
        return "; ".join(_settings(recipe) for recipe in common or whole)
    shown = "; ".join(_settings(recipe) for recipe in common)
    apart = sorted({pair for recipe in whole for pair in recipe} - {p for r in common for p in r})
    return f"{shown}; on 100% {_settings(apart)}"


def _recipes(records: Iterable[Record]) -> list[list[tuple[str, str]]]:
    found = {
        tuple(sorted((name, _plain(value)) for name, value in r.recipe.items() if name != RATE))
        for r in records
    }
    return [list(recipe) for recipe in sorted(found)]


def _settings(recipe: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{name} {value}" for name, value in recipe)


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _is_trained(record: Record) -> bool:
    return not record.parsed_budget.is_nothing


def _grid(record: Record) -> str:
    rates = [f"{rate:g}" for rate in sorted(record.tuning.grid)]
    return f"chosen on validation from {_listed(rates)}" if len(rates) > 1 else _listed(rates)


def _family(rows: Sequence[Row], baseline: str) -> str:
    """Which comparisons were made, and which could not be."""
    compared = [row.comparison for row in rows if row.comparison is not None]
    tested = sum(comparison.verdict is not None for comparison in compared)
    placed = sum(comparison.placement is not None for comparison in compared)
    opponents = sorted({comparison.baseline for comparison in compared} | {baseline})
    text = (
        f"paired by seed with {' or '.join(opponents)} at the same budget, 95 % t interval over"
        f" distilling seeds; {tested} tested in this table as one family, Holm-adjusted,"
        f" {SIGNIFICANCE:g} needed to call a difference"
    )
    if placed:
        text += f"; {placed} of one set placed among the baseline's draws, without a test"
    lacking = _unopposed_budgets(rows, baseline)
    return f"{text}; no whole {baseline} row at {_listed(lacking)}" if lacking else text


def _unopposed_budgets(rows: Sequence[Row], baseline: str) -> list[str]:
    """Budgets with a complete row that had no single complete row to stand against."""
    wanting = {
        row.budget
        for row in rows
        if row.is_complete and not row.is_reference and row.comparison is None
        and row.distiller != baseline
    }  # fmt: skip
    return sorted(wanting, key=Budget.parse)


def _failures(failures: Sequence[Failure], tables: Collection[TableGroup]) -> str:
    """Failed runs by method, stage and error; those that have no table are named in full."""
    shown = {group.key for group in tables}
    counted: Counter[str] = Counter()
    for failure in failures:
        place = (failure.task, failure.student, failure.evaluator)
        where = "" if place in shown and len(shown) == 1 else f" ({' · '.join(place)})"
        row = f"{failure.distiller} @ {failure.budget}{where}"
        counted[f"{row} {failure.stage} {failure.error}"] += 1
    return "; ".join(f"{count} x {what}" for what, count in sorted(counted.items()))


def _hardware(record: Record) -> str:
    made = record.provenance
    return f"{made.processor}, {made.cores} cores, {made.threads} threads, {made.device}"


def _software(record: Record) -> str:
    made = record.provenance
    packages = [f"{name} {version}" for name, version in sorted(made.packages.items())]
    return ", ".join([f"harness {made.harness}", f"Python {made.python}", *packages])


def _commit(record: Record) -> str:
    made = record.provenance
    return f"{made.commit or 'not in a checkout'}{' (dirty)' if made.dirty else ''}"


def _dates(records: Iterable[Record]) -> str:
    days = sorted({record.provenance.created[:10] for record in records})
    return days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
