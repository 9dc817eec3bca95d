"""Consistency rules of a single record."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from harness.errors import UsageError
from harness.records.record import Record, Tuning

_STAGE_KEY = re.compile(r"[0-9a-f]{32}")
_OPEN_SPLITS = {"train", "validation"}


@dataclass(frozen=True)
class Breach:
    """What is wrong; check: the short name of the rule."""

    check: str
    text: str


def breaches(record: Record) -> Iterator[Breach]:
    """Everything that is wrong with a record that could be read, one rule after another."""
    yield from _keys(record)
    yield from _numbers(record)
    yield from _set_size(record)
    yield from _splits(record)
    yield from _items(record)
    yield from _learning_rate(record)


def _keys(record: Record) -> Iterator[Breach]:
    for name in ("key", "distill_key", "fit_key"):
        value = getattr(record, name)
        if not _STAGE_KEY.fullmatch(value):
            yield Breach("key", f"{name} is {value!r}, not 32 hexadecimal digits")


def _numbers(record: Record) -> Iterator[Breach]:
    for name, value in _walk("", record):
        if not math.isfinite(value):
            yield Breach("numbers", f"{name} is {value}, not a finite number")
    for name, value in record.metrics.items():
        if not 0 <= value <= 1:
            yield Breach("numbers", f"metrics.{name} is {value:g}, not a fraction in [0, 1]")
    for name, value in _walk("costs", record.costs):
        if value < 0:
            yield Breach("numbers", f"{name} is {value:g}, less than nothing")


def _walk(name: str, value: Any) -> Iterator[tuple[str, float]]:
    """Every number below a value, by its dotted name; packed arrays are looked at elsewhere."""
    if isinstance(value, bool | str):
        return
    if isinstance(value, int | float):
        yield name, value
        return
    inner: Mapping[Any, Any] = {}
    if isinstance(value, Record):
        inner = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        inner = {key: below for key, below in inner.items() if key != "items"}
    elif dataclasses.is_dataclass(value):
        inner = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    elif isinstance(value, Mapping):
        inner = value
    elif isinstance(value, list | tuple):
        inner = dict(enumerate(value))
    for key, below in inner.items():
        yield from _walk(f"{name}.{key}" if name else str(key), below)


def _set_size(record: Record) -> Iterator[Breach]:
    try:
        allowed = _rows_allowed(record)
    except UsageError as error:
        yield Breach("budget", error.message)
        return
    rows = record.distilled.rows
    if rows < 1 and not record.parsed_budget.is_nothing:
        yield Breach("budget", f"the distilled set has {rows} rows")
    elif allowed is not None and rows > allowed:
        yield Breach(
            "budget", f"the distilled set has {rows} rows, {record.budget} allows {allowed}"
        )


def _rows_allowed(record: Record) -> int | None:
    """Rows within the budget; None where the record does not know the size of train."""
    budget, train = record.parsed_budget, record.task.rows.get("train")
    if train is None:
        return None
    if budget.unit == "class" and record.task.label_names:
        # A record holds no class counts, but how many of each are allowed does not hang on them.
        return budget.total([train] * len(record.task.label_names))
    return budget.rows_of(train)


def _splits(record: Record) -> Iterator[Breach]:
    other = set(record.distilled.used_splits) - _OPEN_SPLITS
    if other:
        shown = ", ".join(sorted(other))
        yield Breach("splits", f"the set was distilled with a look at {shown}")


def _items(record: Record) -> Iterator[Breach]:
    if "score" not in record.items:
        yield Breach("items", "there is no item outcome 'score'")
    else:
        yield from _item_scores(record)
    rows = record.task.rows.get("test")
    expected, what = (
        (rows, "test rows") if record.scored is None else (record.scored, "scored items")
    )
    if expected is None:
        yield Breach("items", "the record does not say how many test rows there are")
        return
    for name, packed in record.items.items():
        if packed.length != expected:
            yield Breach("items", f"'{name}' has {packed.length} values for {expected} {what}")


def _item_scores(record: Record) -> Iterator[Breach]:
    import numpy as np

    scores = record.item_scores
    inside = np.isfinite(scores) & (scores >= 0) & (scores <= 1)
    if not inside.all():
        yield Breach("items", f"{int((~inside).sum())} of 'score' are not fractions in [0, 1]")


def _learning_rate(record: Record) -> Iterator[Breach]:
    tuning = record.tuning
    if tuning.chosen not in tuning.grid:
        yield Breach("learning rate", f"{tuning.chosen:g} is not in the grid {_listed(tuning)}")
    elif len(tuning.grid) == 1:
        if tuning.validation:
            yield Breach("learning rate", "validation scores of a grid of one rate")
    elif len(tuning.validation) != len(tuning.grid):
        yield Breach(
            "learning rate",
            f"{len(tuning.validation)} validation scores for {len(tuning.grid)} rates",
        )
    elif tuning.chosen != _first_best(tuning):
        yield Breach(
            "learning rate",
            f"{tuning.chosen:g} was chosen, but {_first_best(tuning)} is the first best on"
            f" validation of {_listed(tuning)}",
        )
    used = record.recipe.get("learning_rate", tuning.chosen)
    if used != tuning.chosen:
        yield Breach("learning rate", f"{used} in the recipe, {tuning.chosen:g} was chosen")


def _first_best(tuning: Tuning) -> float | None:
    """The rate that the runner chooses: the highest score, and the first of equals."""
    scored = [(v, r) for r, v in zip(tuning.grid, tuning.validation, strict=True) if v is not None]
    best = max((value for value, _ in scored), default=None)
    return next((rate for value, rate in scored if value == best), None)


def _listed(tuning: Tuning) -> str:
    return ", ".join(f"{rate:g}" for rate in tuning.grid)
