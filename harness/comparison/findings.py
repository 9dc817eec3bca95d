"""Results of a comparison: changed settings, paired differences, disagreement on items."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from harness.leaderboard.stats import Interval, MeanEstimate, PairedDifference
from harness.leaderboard.table import SeedPair

ComparisonKind = Literal["folders", "methods", "commits"]
Verdict = Literal["A is better", "B is better", "no evidence of a difference"]


@dataclass(frozen=True)
class Change:
    """One thing that is not the same on both sides.

    rows: labels of the rows it holds for; empty when it holds for all that were compared.
    """

    name: str
    first: str
    second: str
    rows: tuple[str, ...] = ()


@dataclass(frozen=True)
class McNemar:
    """Two runs of the same seeds: items that only one got right, and the exact p-value."""

    distill_seed: int
    fit_seed: int
    only_first: int
    only_second: int
    p_value: float


@dataclass(frozen=True)
class Counts:
    """Outcomes of 0/1 items, pooled over the runs."""

    both: int
    only_first: int
    only_second: int
    neither: int


@dataclass(frozen=True)
class ItemScores:
    """One test item: its position, counted from 0, and each side's mean score over the seeds."""

    position: int
    first: float
    second: float


@dataclass(frozen=True)
class ItemComparison:
    """Both sides on the same items.

    items, runs: length of a run's score vector, and how many runs of each side were compared.
    difference: of the mean item score, A - B; the main metric may be another.
    bootstrap, crossed: intervals of that difference over new seeds and new items, by resampling
    both, and from a crossed random-effects model; None with one seed.
    counts, mcnemar: None and empty where item scores are not 0/1.
    always_first: items that A got fully right and B fully wrong in every run; always_second:
    the reverse.
    most_first, most_second: the items with the largest differences in favour of A and of B.
    """

    items: int
    runs: int
    difference: float
    bootstrap: Interval | None
    crossed: Interval | None
    counts: Counts | None
    mcnemar: tuple[McNemar, ...]
    always_first: int
    always_second: int
    most_first: tuple[ItemScores, ...]
    most_second: tuple[ItemScores, ...]


@dataclass(frozen=True)
class RowComparison:
    """One row of A against one of B, over the runs that both have.

    table: task, student and evaluator; label: the row's, of both sides where they differ;
    first_row, second_row: `METHOD @ BUDGET`.
    first, second, difference: of the main metric, as fractions, with distilling seeds as unit.
    only_first_runs, only_second_runs: runs that the other side lacks; they count nowhere.
    same_sets, same_outcomes: runs whose distilled sets, and whose item scores, are equal.
    unjudged: why there is no verdict; no_items: why items could not be compared.
    """

    table: str
    label: str
    first_row: str
    second_row: str
    metric: str
    runs: tuple[SeedPair, ...]
    only_first_runs: tuple[SeedPair, ...]
    only_second_runs: tuple[SeedPair, ...]
    first: MeanEstimate
    second: MeanEstimate
    difference: PairedDifference
    same_sets: int
    same_outcomes: int
    p_adjusted: float | None = None
    verdict: Verdict | None = None
    unjudged: str = ""
    items: ItemComparison | None = None
    no_items: str = ""


@dataclass(frozen=True)
class Comparison:
    """Everything found about A (first) and B (second).

    kind: what A and B are; folder: where their records lie, empty for two folders.
    left_out: rows that were not compared, each with the reason.
    mixed: what differs although one table should share it, when mixing was allowed.
    """

    kind: ComparisonKind
    folder: str
    first: str
    second: str
    rows: tuple[RowComparison, ...]
    changes: tuple[Change, ...]
    left_out: tuple[str, ...]
    mixed: tuple[str, ...]
    problems: tuple[str, ...]

    @property
    def tested(self) -> int:
        """The size of the family that Holm's correction covers."""
        return sum(row.p_adjusted is not None for row in self.rows)

    def to_json(self) -> dict[str, Any]:
        """Plain lists, dicts and numbers; scores are fractions."""
        return {**asdict(self), "tested": self.tested}
