"""Tables and rows of a board, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from harness.leaderboard.ranks import RankInterval
from harness.leaderboard.stats import Interval, MeanEstimate, PairedDifference

SeedPair = tuple[int, int]
"""(distill_seed, fit_seed) of one run."""
BaselineVerdict = Literal["better", "worse", "no evidence"]

RANDOM = "random"
"""The rows that anyone can have: what methods are compared with unless asked otherwise."""


@dataclass(frozen=True)
class Fact:
    """One line of a footer.

    volatile: it may differ between two machines, or between two runs of the same command.
    """

    name: str
    text: str
    volatile: bool = False


@dataclass(frozen=True)
class Placement:
    """Where a row's only set lies among the baseline's sets, each of which is a draw.

    interval: the 95 % prediction interval of one further draw; beaten: how many of the
    baseline's `draws` score less than the set.
    """

    interval: Interval
    where: Literal["above", "within", "below"]
    beaten: int
    draws: int


@dataclass(frozen=True)
class BaselineComparison:
    """A row against the baseline at the same budget, paired by seeds.

    p_adjusted and verdict are None when there is nothing to test with, as with one seed.
    placement: of a row that has one set for all distilling seeds. A mean over fits of one set says
    nothing of the method's other sets, so there is no test; nor where the baseline has one set.
    elsewhere: 95 % interval of the difference for other seeds and other test items as well;
    None without item outcomes, or with one seed.
    """

    baseline: str
    difference: PairedDifference
    p_adjusted: float | None = None
    verdict: BaselineVerdict | None = None
    elsewhere: Interval | None = None
    placement: Placement | None = None


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
    seed_scores: distilling seed -> score, the values that `score` is the mean of.
    sampling_sd: what redrawing the test items would do to one run's score; None when the main
    metric is not a mean over items.
    rank_interval: the ranks it takes at its budget when seeds and items are drawn anew.
    loss_to_full: the reference's score minus the row's, paired by seed.
    robust_score: DD-Ranking's label-robust score over seeds (see `measures`); None for a
    set with soft labels, whose labels and rows would have to be told apart first.
    area: mean score over the logarithm of the budget, from all budgets of the table; None when
    the method lacks one of them, or there is only one.
    parameters: of the trained model, mean over runs.
    degenerate_runs: runs whose predictions are all the same class.
    """

    distiller: str
    budget: str
    is_reference: bool
    runs: int
    expected: int
    score: MeanEstimate | None = None
    seed_scores: Mapping[int, float] = field(default_factory=dict)
    sampling_sd: float | None = None
    rank: int | None = None
    rank_interval: RankInterval | None = None
    comparison: BaselineComparison | None = None
    loss_to_full: MeanEstimate | None = None
    robust_score: MeanEstimate | None = None
    area: float | None = None
    size: SetSize | None = None
    cost: RowCost | None = None
    parameters: float | None = None
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

    @property
    def opponents(self) -> tuple[str, ...]:
        """What rows are compared with: the baseline, or at its budget the whole-train reference."""
        found = {row.comparison.baseline for row in self.rows if row.comparison}
        return tuple(sorted(found, key=lambda name: (name != self.baseline, name))) or (
            self.baseline,
        )
