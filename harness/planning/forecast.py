"""Forecast of a plan's duration, from earlier records."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.records.record import Record
from harness.plan import Cell
from harness.records.record import Record


def expected_seconds(cells: Sequence[Cell], known: Sequence[Record]) -> float | None:
    """A forecast from earlier records of the same methods and students; None without any."""
    total = 0.0
    for kind, name in (("distill", "distiller"), ("fit", "student"), ("evaluate", "student")):
        seen: dict[str, list[float]] = {}
        for record in known:
            label = (
                record.distiller.label if name == "distiller" else record.student.component.label
            )
            seen.setdefault(label, []).append(getattr(record.costs, kind).seconds)
        stages = {cell.stage_keys()[kind]: getattr(cell, name).label for cell in cells}  # type: ignore[index]
        for label in stages.values():
            if label not in seen:
                return None
            total += fmean(seen[label])
    return total
