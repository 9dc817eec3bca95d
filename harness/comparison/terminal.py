"""A comparison as tables for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from harness.comparison.changes import METHOD_OPTION, NOTHING
from harness.comparison.findings import Change, Comparison, ItemScores, RowComparison
from harness.leaderboard.formats.columns import percent, signed_percent
from harness.leaderboard.formats.escaping import printable
from harness.leaderboard.formats.terminal import bare_table
from harness.leaderboard.scoring import SIGNIFICANCE
from harness.leaderboard.stats import Interval, MeanEstimate

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

_MOST_NAMED = 2
"""Rows that a change names; more are counted."""
_MOST_OPTIONS = 6
"""Options that only one method has are counted when there are more of them."""
_BOLD = ("A is better", "B is better")


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Prints everything but the numbers behind the intervals, which the JSON has."""
    for part in _parts(comparison):
        console.print(part)


def _parts(comparison: Comparison) -> Iterator[RenderableType]:
    where = f" ({comparison.kind} of {comparison.folder})" if comparison.folder else ""
    yield _line(f"A: {comparison.first} · B: {comparison.second}{where}", style="bold")
    yield ""
    if comparison.changes:
        yield _changes(comparison)
    else:
        yield _line("nothing changed in what the records say of method, protocol and machine")
    for table in dict.fromkeys(row.table for row in comparison.rows):
        rows = [row for row in comparison.rows if row.table == table]
        yield ""
        yield _scores(rows, table)
        if any(row.items for row in rows):
            yield ""
            yield _items([row for row in rows if row.items])
        yield from _item_lines(rows)
    yield ""
    yield from (_line(text, style="yellow") for text in _warnings(comparison))
    yield from (_line(text, style="dim") for text in _explanations(comparison))


def _changes(comparison: Comparison) -> Table:
    table = _table(["what changed", "A", "B"], left=3)
    if any(change.rows for change in comparison.changes):
        table.add_column("rows", overflow="fold")
    for change in _shortened(comparison.changes):
        cells = [change.name, change.first, change.second, _rows_of(change, comparison)]
        table.add_row(*map(_line, cells[: len(table.columns)]))
    return table


def _shortened(changes: Sequence[Change]) -> list[Change]:
    """The changes, with the options that only one of two methods has counted when they are many."""
    own = {
        change: side
        for change in changes
        for side, missing in (("A", change.second), ("B", change.first))
        if change.name.startswith(METHOD_OPTION) and missing == NOTHING and not change.rows
    }
    if len(own) <= _MOST_OPTIONS:
        return list(changes)
    sides = list(own.values())
    counts = (sides.count("A"), sides.count("B"))
    first, second = (f"{count}, named by --json" if count else NOTHING for count in counts)
    others = [change for change in changes if change not in own]
    place = next(n for n, change in enumerate(changes) if change in own)
    return [*others[:place], Change("options of its own", first, second), *others[place:]]


def _rows_of(change: Change, comparison: Comparison) -> str:
    if not change.rows:
        return "all"
    if len(change.rows) > _MOST_NAMED:
        return f"{len(change.rows)} of {len(comparison.rows)}"
    tables = {row.table for row in comparison.rows}
    prefix = f"{next(iter(tables))} / " if len(tables) == 1 else ""
    return ", ".join(label.removeprefix(prefix) for label in change.rows)


def _scores(rows: Sequence[RowComparison], title: str) -> Table:
    metric = rows[0].metric
    heads = ["row", "n", f"A {metric} %", f"B {metric} %", "A − B", "p", "verdict"]
    table = _table(heads, left=1, title=title)
    table.columns[-1].justify = "left"
    table.columns[0].min_width = _longest_word(rows)
    for row in rows:
        cells = [
            row.label,
            str(row.difference.n),
            _mean(row.first),
            _mean(row.second),
            _difference(row.difference.mean, row.difference.interval),
            NOTHING if row.p_adjusted is None else _p(row.p_adjusted),
        ]
        verdict = row.verdict or row.unjudged
        table.add_row(*map(_line, cells), _line(verdict, "bold" if verdict in _BOLD else ""))
    return table


def _items(rows: Sequence[RowComparison]) -> Table:
    heads = [
        "items of",
        "items",
        "A − B",
        "crossed",
        "both right",
        "only A",
        "only B",
        "both wrong",
    ]
    table = _table([*heads, "McNemar p of each run"], left=1)
    table.columns[0].min_width = _longest_word(rows)
    for row in rows:
        items = row.items
        assert items is not None
        counts = items.counts
        shown = (
            (counts.both, counts.only_first, counts.only_second, counts.neither) if counts else ()
        )
        cells = [
            row.label,
            f"{items.items:,} × {items.runs}",
            _difference(items.difference, items.bootstrap),
            _interval(items.crossed) if items.crossed else NOTHING,
            *([f"{count:,}" for count in shown] or [NOTHING] * 4),
            ", ".join(_p(test.p_value) for test in items.mcnemar) or NOTHING,
        ]
        table.add_row(*map(_line, cells))
    return table


def _item_lines(rows: Sequence[RowComparison]) -> Iterator[Text]:
    """The items that speak most for either side, by position, with the scores of A and B."""
    for row in rows:
        items = row.items
        if items is None or not (items.most_first or items.most_second):
            continue
        yield _line("")
        yield _line(f"{row.label}, items by position in the test split (score of A : B)")
        sides = (
            ("A", "B", items.always_first, items.most_first),
            ("B", "A", items.always_second, items.most_second),
        )
        for side, other, always, most in sides:
            named = ", ".join(map(_item, most)) or "none"
            every = "in its run" if items.runs == 1 else f"in all {items.runs} runs"
            yield _line(f"  for {side}: {named}; {always:,} right under {side} and wrong under"
                        f" {other} {every}")  # fmt: skip


def _item(item: ItemScores) -> str:
    return f"{item.position} ({item.first:.2g} : {item.second:.2g})"


def _warnings(comparison: Comparison) -> Iterator[str]:
    for text in comparison.mixed:
        yield f"MIXED, so the scores answer different questions: {text}"
    for row in comparison.rows:
        for side, missing in (("A", row.only_first_runs), ("B", row.only_second_runs)):
            if missing:
                seeds = ", ".join(f"{distill}/{fit}" for distill, fit in missing)
                yield f"{row.label}: only {side} has seeds {seeds}, which are left out"
    yield from _of_rows(comparison, "items not compared, {}", lambda row: row.no_items)
    yield from _of_rows(
        comparison, "{}", lambda row: "McNemar does not apply, item scores are not 0 or 1"
        if row.items and row.items.counts is None else ""
    )  # fmt: skip
    yield from _of_rows(comparison, "{}", _sameness)
    yield from (f"not compared: {text}" for text in comparison.left_out)


def _sameness(row: RowComparison) -> str:
    runs = len(row.runs)
    if row.same_outcomes == runs:
        return "the same item scores on both sides, in every run"
    if row.same_sets:
        return f"the same distilled set on both sides in {row.same_sets} of {runs} runs"
    return ""


def _of_rows(
    comparison: Comparison, form: str, read: Callable[[RowComparison], str]
) -> Iterator[str]:
    """Each text once, after the rows it holds for."""
    labels: dict[str, list[str]] = {}
    for row in comparison.rows:
        if text := read(row):
            labels.setdefault(text, []).append(row.label)
    for text, rows in labels.items():
        everywhere = 1 < len(rows) == len(comparison.rows)
        yield f"{'all rows' if everywhere else ', '.join(rows)}: {form.format(text)}"


def _explanations(comparison: Comparison) -> Iterator[str]:
    runs = {row.runs for row in comparison.rows}
    if len(runs) == 1:
        pairs = ", ".join(f"{distill}/{fit}" for distill, fit in next(iter(runs)))
        yield f"seeds: distilling/fitting {pairs}"
    yield (
        "A − B: points of the main metric, paired by seed, 95 % t interval over distilling seeds;"
        f" {comparison.tested} tested as one family, p Holm-adjusted, {SIGNIFICANCE:g} needed to"
        " call a difference"
    )
    if any(row.items and row.items.bootstrap for row in comparison.rows):
        yield (
            "A − B of items: points of the mean item score, 95 % paired bootstrap over seeds and"
            " items, which tends to be narrow with few seeds; crossed: 95 % interval over both from"
            " a random-effects model"
        )
    if any(row.items and row.items.mcnemar for row in comparison.rows):
        yield (
            "McNemar: exact, two-sided, about that one pair of runs and its items; not adjusted,"
            " and no statement about other seeds"
        )


def _longest_word(rows: Sequence[RowComparison]) -> int:
    return max(len(word) for row in rows for word in printable(row.label).split())


def _mean(estimate: MeanEstimate) -> str:
    margin = f" ± {percent(estimate.interval.half_width)}" if estimate.interval else ""
    return f"{percent(estimate.mean)}{margin}"


def _difference(mean: float, interval: Interval | None) -> str:
    return signed_percent(mean) + (f" {_interval(interval)}" if interval else "")


def _interval(interval: Interval) -> str:
    return f"[{signed_percent(interval.low)}, {signed_percent(interval.high)}]"


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _table(heads: Sequence[str], *, left: int, title: str = "") -> Table:
    """A table whose first `left` columns are text and whose others are numbers."""
    table = bare_table(title)
    for place, head in enumerate(heads):
        table.add_column(_line(head), justify="left" if place < left else "right", overflow="fold")
    return table


def _line(text: str, style: str = "") -> Text:
    """Text without markup, so that brackets in a name stay brackets."""
    from rich.text import Text

    return Text(_indented(text), style=style)


def _indented(text: str) -> str:
    return " " * (len(text) - len(text.lstrip(" "))) + printable(text)
