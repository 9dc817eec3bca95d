"""What a board is made of: tables, their rows, and the facts printed under them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.stats import MeanEstimate, PairedDifference

SeedPair = tuple[int, int]
"""(distill_seed, fit_seed) of one run."""
Verdict = Literal["better", "worse", "no evidence"]


@dataclass(frozen=True)
class Fact:
    """One line of a footer.

    volatile: it may differ between two machines, or between two runs of the same command.
    """

    name: str
    text: str
    volatile: bool = False


@dataclass(frozen=True)
class Comparison:
    """A row against the baseline at the same budget, paired by seeds.

    p_adjusted and verdict are None when there is nothing to test with, as with one seed.
    """

    baseline: str
    difference: PairedDifference
    p_adjusted: float | None = None
    verdict: Verdict | None = None


@dataclass(frozen=True)
class SetSize:
    """Size of the distilled sets: fewest and most rows, mean bytes over sets."""

    rows_min: int
    rows_max: int
    bytes: float


@dataclass(frozen=True)
class RowCost:
    """distill_seconds: mean over sets; fit_seconds: mean over runs; peaks: highest of all."""

    distill_seconds: float
    fit_seconds: float
    peak_bytes: int
    device_peak_bytes: int


@dataclass(frozen=True)
class Row:
    """One method at one budget.

    runs, expected: how many runs there are, and should be. Everything measured is None in an
    incomplete row: a mean over the runs that happen to exist would not be comparable.
    score: of the main metric, as fractions, with distilling seeds as the unit.
    sampling_sd: what redrawing the test items would do to one run's score; None when the main
    metric is not a mean over items.
    degenerate_runs: runs whose predictions are all the same class.
    """

    distiller: str
    budget: str
    is_reference: bool
    runs: int
    expected: int
    score: MeanEstimate | None = None
    sampling_sd: float | None = None
    rank: int | None = None
    comparison: Comparison | None = None
    size: SetSize | None = None
    cost: RowCost | None = None
    degenerate_runs: int = 0
    notes: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """How notes, and plugins that add columns, name the row."""
        return f"{self.distiller} @ {self.budget}"

    @property
    def is_complete(self) -> bool:
        return self.runs == self.expected


@dataclass(frozen=True)
class Table:
    """Everything measured with one task, student and evaluator, best first in each budget."""

    task: str
    student: str
    evaluator: str
    metric: str
    parameters: int
    baseline: str
    rows: tuple[Row, ...]
    facts: tuple[Fact, ...]

    @property
    def title(self) -> str:
        return f"{self.task} · {self.student} · {self.evaluator}"
