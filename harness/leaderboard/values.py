"""The numbers of a row by name, as fractions, seconds and bytes, for formats that programs read."""

from __future__ import annotations

from harness.leaderboard.table import Row

Value = str | int | float | bool | None
PLACES = 6


def row_values(row: Row, *, cost: bool) -> dict[str, Value]:
    """Every number of a row; None where nothing was measured."""
    values: dict[str, Value] = {
        "distiller": row.distiller,
        "budget": row.budget,
        "rank": row.rank,
        "is_reference": row.is_reference,
        "runs": row.runs,
        "expected_runs": row.expected,
        **_score(row),
        **_comparison(row),
        "set_rows_min": row.size.rows_min if row.size else None,
        "set_rows_max": row.size.rows_max if row.size else None,
        "set_bytes": row.size.bytes if row.size else None,
        **(_cost(row) if cost else {}),
        "degenerate_runs": row.degenerate_runs,
    }
    return {name: _rounded(value) for name, value in values.items()}


def _score(row: Row) -> dict[str, Value]:
    score = row.score
    interval = score.interval if score else None
    return {
        "n": score.n if score else None,
        "mean": score.mean if score else None,
        "mean_low": interval.low if interval else None,
        "mean_high": interval.high if interval else None,
        "sd": score.sd if score else None,
        "sampling_sd": row.sampling_sd,
    }


def _comparison(row: Row) -> dict[str, Value]:
    comparison = row.comparison
    difference = comparison.difference if comparison else None
    interval = difference.interval if difference else None
    return {
        "baseline": comparison.baseline if comparison else None,
        "difference": difference.mean if difference else None,
        "difference_low": interval.low if interval else None,
        "difference_high": interval.high if interval else None,
        "p_value": difference.p_value if difference else None,
        "p_adjusted": comparison.p_adjusted if comparison else None,
        "verdict": comparison.verdict if comparison else None,
    }


def _cost(row: Row) -> dict[str, Value]:
    cost = row.cost
    return {
        "distill_seconds": cost.distill_seconds if cost else None,
        "fit_seconds": cost.fit_seconds if cost else None,
        "peak_bytes": cost.peak_bytes if cost else None,
        "device_peak_bytes": cost.device_peak_bytes if cost else None,
    }


def _rounded(value: Value) -> Value:
    return round(value, PLACES) + 0.0 if isinstance(value, float) else value
