"""A row's numbers by name, as fractions, seconds and bytes, for formats that programs read."""

from __future__ import annotations

from harness.leaderboard.stats import MeanEstimate
from harness.leaderboard.table import Row

Value = str | int | float | bool | None
PLACES = 6


def row_values(row: Row, *, cost: bool) -> dict[str, Value]:
    """Every number of a row; None where nothing was measured."""
    values: dict[str, Value] = {
        "distiller": row.distiller,
        "budget": row.budget,
        "rank": row.rank,
        "rank_low": row.rank_interval.low if row.rank_interval else None,
        "rank_high": row.rank_interval.high if row.rank_interval else None,
        "is_reference": row.is_reference,
        "runs": row.runs,
        "expected_runs": row.expected,
        **_score(row),
        **_comparison(row),
        **estimate_values("loss_to_full", row.loss_to_full),
        **estimate_values("label_robust_score", row.robust_score),
        "area": row.area,
        "set_rows_min": row.size.rows_min if row.size else None,
        "set_rows_max": row.size.rows_max if row.size else None,
        "set_bytes": row.size.bytes if row.size else None,
        "score_per_kilobyte": _per_kilobyte(row),
        **(_cost(row) if cost else {}),
        "degenerate_runs": row.degenerate_runs,
    }
    return {name: _rounded(value) for name, value in values.items()}


def _score(row: Row) -> dict[str, Value]:
    score = row.score
    return {
        "n": score.n if score else None,
        **estimate_values("mean", score),
        "sd": score.sd if score else None,
        "sampling_sd": row.sampling_sd,
    }


def estimate_values(name: str, estimate: MeanEstimate | None) -> dict[str, Value]:
    """A mean and the ends of its interval, under three names."""
    interval = estimate.interval if estimate else None
    return {
        name: estimate.mean if estimate else None,
        f"{name}_low": interval.low if interval else None,
        f"{name}_high": interval.high if interval else None,
    }


def _comparison(row: Row) -> dict[str, Value]:
    comparison = row.comparison
    difference = comparison.difference if comparison else None
    interval = difference.interval if difference else None
    elsewhere = comparison.elsewhere if comparison else None
    placement = comparison.placement if comparison else None
    return {
        "baseline": comparison.baseline if comparison else None,
        "difference": difference.mean if difference else None,
        "difference_low": interval.low if interval else None,
        "difference_high": interval.high if interval else None,
        "difference_elsewhere_low": elsewhere.low if elsewhere else None,
        "difference_elsewhere_high": elsewhere.high if elsewhere else None,
        "p_value": difference.p_value if difference else None,
        "p_adjusted": comparison.p_adjusted if comparison else None,
        "verdict": comparison.verdict if comparison else None,
        "one_set": placement.where if placement else None,
        "one_draw_low": placement.interval.low if placement else None,
        "one_draw_high": placement.interval.high if placement else None,
        "draws_beaten": placement.beaten if placement else None,
    }


def _cost(row: Row) -> dict[str, Value]:
    cost = row.cost
    seconds = cost.distill_seconds + cost.fit_seconds if cost else 0.0
    gain = row.comparison.difference.mean if row.comparison else None
    return {
        "distill_seconds": cost.distill_seconds if cost else None,
        "fit_seconds": cost.fit_seconds if cost else None,
        "peak_bytes": cost.peak_bytes if cost else None,
        "device_peak_bytes": cost.device_peak_bytes if cost else None,
        "score_per_second": row.score.mean / seconds if row.score and seconds else None,
        "difference_per_second": gain / seconds if gain is not None and seconds else None,
    }


def _per_kilobyte(row: Row) -> float | None:
    if row.score is None or row.size is None or row.size.bytes == 0:
        return None
    return row.score.mean / (row.size.bytes / 1000)


def _rounded(value: Value) -> Value:
    return round(value, PLACES) + 0.0 if isinstance(value, float) else value
