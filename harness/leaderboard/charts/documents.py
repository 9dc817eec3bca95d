"""A board's charts as Vega-Lite documents: scores, budgets, costs, parameters, heatmaps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from harness.drawing import NEUTRAL, PALETTE, SCHEMA, ChartSpec
from harness.leaderboard.board import Board
from harness.leaderboard.table import Row, Table

Point = dict[str, Any]


def points(board: Board) -> list[Point]:
    """One point for each complete row of each table, as the charts' data."""
    return [_point(table, row) for table in board.tables for row in table.rows if row.score]


def colours(methods: Iterable[str], *, neutral: Iterable[str]) -> Mapping[str, str]:
    """A colour for each method that stays the same on every chart of a board."""
    plain = set(neutral)
    named = sorted(set(methods) - plain)
    own = {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(named)}
    return own | dict.fromkeys(sorted(plain), NEUTRAL)


def neutral_methods(board: Board) -> set[str]:
    """The baseline and the reference, which are no contestants."""
    references = {r.distiller for table in board.tables for r in table.rows if r.is_reference}
    return {table.baseline for table in board.tables} | references


def scores(data: Sequence[Point], palette: Mapping[str, str]) -> ChartSpec:
    """Each method's mean with its interval, best on top, and lines for the reference rows."""
    return _document(
        "Score of each method with its 95 % interval",
        data,
        {
            "encoding": {"y": _methods_by_score()},
            "layer": [
                _reference_lines(),
                {
                    "transform": [{"filter": "isValid(datum.low)"}],
                    "mark": {"type": "rule", "strokeWidth": 2},
                    "encoding": {
                        "x": _score_axis(data, "low"),
                        "x2": {"field": "high"},
                        "color": _colour(palette, legend=False),
                    },
                },
                {
                    "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1},
                    "encoding": {
                        "x": _score_axis(data),
                        "color": _colour(palette, legend=False),
                        "tooltip": _tooltip(data),
                    },
                },
            ],
        },
    )


def budgets(data: Sequence[Point], palette: Mapping[str, str]) -> ChartSpec:
    """Score against the size of the set, with bands for the intervals."""
    x = {
        "field": "rows",
        "type": "quantitative",
        "scale": {"type": "log", "nice": False},
        "title": "rows in the set",
        "axis": {"values": sorted({p["rows"] for p in data if not p["reference"]}), "format": ",d"},
    }
    return _document(
        "Score against the number of rows, with 95 % bands",
        data,
        {
            "encoding": {"x": x, "color": _colour(palette)},
            "layer": [
                {
                    "transform": [{"filter": "!datum.reference && isValid(datum.low)"}],
                    "mark": {"type": "area", "opacity": 0.15, "clip": True},
                    "encoding": {"y": _score_axis(data, "low"), "y2": {"field": "high"}},
                },
                {
                    "transform": [{"filter": "!datum.reference"}],
                    "mark": {"type": "line", "point": {"filled": True, "size": 50}},
                    "encoding": {"y": _score_axis(data), "tooltip": _tooltip(data)},
                },
                {
                    "transform": [{"filter": "datum.reference"}],
                    "mark": {"type": "rule", "strokeDash": [6, 4]},
                    "encoding": {
                        "y": _score_axis(data),
                        "x": {"value": 0},
                        "x2": {"value": "width"},
                    },
                },
            ],
        },
    )


def costs(data: Sequence[Point], palette: Mapping[str, str]) -> ChartSpec:
    """Score against the seconds it takes to distil and to fit, with the Pareto front."""
    x = {
        "field": "seconds",
        "type": "quantitative",
        "scale": {"type": "log", "nice": True},
        "title": "seconds for distilling and one fit",
    }
    cheapest_first: ChartSpec = {
        "window": [{"op": "max", "field": "score", "as": "best"}],
        "sort": [{"field": "seconds"}, {"field": "score", "order": "descending"}],
        "frame": [None, 0],
    }
    before = {
        "window": [{"op": "lag", "field": "best", "as": "before"}],
        "sort": cheapest_first["sort"],
    }
    return _document(
        "Score against cost, with the front of methods that none beats in both",
        data,
        {
            "encoding": {"x": x, "y": _score_axis(data)},
            "layer": [
                {
                    "transform": [
                        cheapest_first,
                        before,
                        {"filter": "!isValid(datum.before) || datum.score > datum.before"},
                    ],
                    "mark": {
                        "type": "line",
                        "interpolate": "step-after",
                        "strokeDash": [4, 3],
                        "color": NEUTRAL,
                    },
                    "encoding": {"order": {"field": "seconds"}},
                },
                {
                    "transform": [{"filter": "isValid(datum.low)"}],
                    "mark": {"type": "rule", "opacity": 0.5},
                    "encoding": {
                        "y": _score_axis(data, "low"),
                        "y2": {"field": "high"},
                        "color": _colour(palette),
                    },
                },
                {
                    "mark": {"type": "point", "filled": True, "size": 80, "opacity": 1},
                    "encoding": {
                        "color": _colour(palette),
                        "shape": {"field": "budget", "title": "budget"},
                        "tooltip": _tooltip(data),
                    },
                },
            ],
        },
    )


def parameters(data: Sequence[Point], palette: Mapping[str, str]) -> ChartSpec:
    """Score against the size of the trained model, with a line through each method's models."""
    x = {
        "field": "parameters",
        "type": "quantitative",
        "scale": {"type": "log", "nice": False, "padding": 24},
        "title": "parameters of the trained model",
        "axis": {"values": sorted({p["parameters"] for p in data}), "format": ".3s"},
    }
    return _document(
        "Score of each method against the parameters of the trained model",
        data,
        {
            "encoding": {"x": x, "color": _colour(palette)},
            "layer": [
                {
                    "mark": {"type": "line", "opacity": 0.5},
                    "encoding": {"y": _score_axis(data), "detail": {"field": "budget"}},
                },
                {
                    "transform": [{"filter": "isValid(datum.low)"}],
                    "mark": {"type": "rule", "opacity": 0.5},
                    "encoding": {"y": _score_axis(data, "low"), "y2": {"field": "high"}},
                },
                {
                    "mark": {"type": "point", "filled": True, "size": 80, "opacity": 1},
                    "encoding": {
                        "y": _score_axis(data),
                        "shape": {"field": "student", "title": "student"},
                        "tooltip": [
                            *_tooltip(data),
                            {"field": "student", "title": "student"},
                            {
                                "field": "parameters", "type": "quantitative", "format": ",d",
                                "title": "parameters",
                            },
                        ],
                    },
                },
            ],
        },
    )  # fmt: skip


def heat_map(data: Sequence[Point], across: str = "student") -> ChartSpec:
    """Methods against students (or tasks): the score as colour and as text."""
    middle = _middle(point["score"] for point in data)
    return _document(
        f"Score of each method with each {across}",
        data,
        {
            "width": {"step": 96},
            "height": {"step": 26},
            "encoding": {
                "x": {"field": across, "title": across, "axis": {"labelAngle": -20}},
                "y": _methods_by_score(),
            },
            "layer": [
                {
                    "mark": "rect",
                    "encoding": {
                        "color": {
                            "field": "score",
                            "type": "quantitative",
                            "scale": {"scheme": "blues"},
                            "title": _axis_title(data),
                        },
                        "tooltip": _tooltip(data),
                    },
                },
                {
                    "mark": {"type": "text", "fontSize": 11},
                    "encoding": {
                        "text": {"field": "score", "type": "quantitative", "format": ".1f"},
                        "color": {
                            "condition": {"test": f"datum.score > {middle}", "value": "white"},
                            "value": "#1b1b1b",
                        },
                    },
                },
            ],
        },
    )


def _point(table: Table, row: Row) -> Point:
    assert row.score is not None
    interval = row.score.interval
    rows = (row.size.rows_min + row.size.rows_max) / 2 if row.size else math.nan
    seconds = row.cost.distill_seconds + row.cost.fit_seconds if row.cost else math.nan
    return {
        "task": table.task,
        "student": table.student,
        "evaluator": table.evaluator,
        "metric": table.metric,
        "method": row.distiller,
        "budget": row.budget,
        "label": row.label,
        "reference": row.is_reference,
        "neutral": row.is_reference or row.distiller == table.baseline,
        "rows": rows,
        "parameters": row.parameters,
        "seconds": max(seconds, 1e-3),
        "score": round(100 * row.score.mean, 4),
        "low": None if interval is None else round(100 * interval.low, 4),
        "high": None if interval is None else round(100 * interval.high, 4),
        "n": row.score.n,
    }


def _document(description: str, data: Sequence[Point], body: Mapping[str, Any]) -> ChartSpec:
    return {
        "$schema": SCHEMA,
        "description": description,
        "width": 460,
        "height": 280,
        "data": {"name": "points", "values": list(data)},
        **body,
    }


def _reference_lines() -> ChartSpec:
    return {
        "transform": [{"filter": "datum.neutral"}],
        "mark": {"type": "rule", "strokeDash": [6, 4], "color": NEUTRAL},
        "encoding": {"x": {"field": "score", "type": "quantitative"}, "y": {"value": 0},
                     "y2": {"value": "height"}},
    }  # fmt: skip


def _methods_by_score() -> ChartSpec:
    return {
        "field": "label",
        "title": None,
        "sort": {"field": "score", "op": "max", "order": "descending"},
        "axis": {"labelLimit": 260},
    }


def _score_axis(data: Sequence[Point], field: str = "score") -> ChartSpec:
    return {
        "field": field,
        "type": "quantitative",
        "title": _axis_title(data),
        "scale": {"zero": False, "padding": 8},
    }


def _axis_title(data: Sequence[Point]) -> str:
    return f"{', '.join(sorted({point['metric'] for point in data}))} %"


def _colour(palette: Mapping[str, str], *, legend: bool = True) -> ChartSpec:
    scale = {"domain": list(palette), "range": list(palette.values())}
    shown = {"symbolOpacity": 1} if legend else None
    return {"field": "method", "title": "method", "scale": scale, "legend": shown}


def _tooltip(data: Sequence[Point]) -> list[ChartSpec]:
    return [
        {"field": "label", "title": "method"},
        {"field": "score", "type": "quantitative", "format": ".1f", "title": _axis_title(data)},
        {"field": "low", "type": "quantitative", "format": ".1f", "title": "from"},
        {"field": "high", "type": "quantitative", "format": ".1f", "title": "to"},
        {"field": "n", "type": "quantitative", "title": "seeds"},
        {"field": "rows", "type": "quantitative", "format": ",d", "title": "rows"},
        {"field": "seconds", "type": "quantitative", "format": ",.1f", "title": "seconds"},
    ]


def _middle(values: Iterable[float]) -> float:
    known = list(values)
    return (min(known) + max(known)) / 2 if known else 0.0


KINDS: Mapping[str, Callable[[Sequence[Point], Mapping[str, str]], ChartSpec]] = {
    "scores": scores,
    "budget": budgets,
    "cost": costs,
}
"""Charts of one table, by the name that people call them."""
