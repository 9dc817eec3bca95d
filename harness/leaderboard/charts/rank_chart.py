"""The critical-difference diagram of a ranking, as a Vega-Lite document."""

from __future__ import annotations

from harness.drawing import NEUTRAL, SCHEMA, ChartSpec
from harness.leaderboard.overview import Ranking


def critical_difference(ranking: Ranking) -> ChartSpec:
    """Average ranks on a line; a bar joins methods that do not differ (Demšar 2006, figure 1)."""
    ranks: list[ChartSpec] = [
        {"method": f"{name} ({rank:.2f})", "rank": rank, "line": line}
        for line, (name, rank) in enumerate(zip(ranking.methods, ranking.result.ranks, strict=True))
    ]
    bars: list[ChartSpec] = [
        {"first": ranks[group[0]]["rank"], "last": ranks[group[-1]]["rank"], "line": -1 - i * 0.6}
        for i, group in enumerate(ranking.result.cliques())
    ]
    top = min([-1.0, *(bar["line"] for bar in bars)]) - 1
    y = {"field": "line", "type": "quantitative", "axis": None,
         "scale": {"domain": [top, len(ranks)], "reverse": True}}  # fmt: skip
    rank_axis = {
        "type": "quantitative",
        "title": "average rank (1 is best)",
        "scale": {"domain": [1, len(ranks)], "zero": False, "padding": 12},
        "axis": {"orient": "top", "grid": False, "tickMinStep": 1},
    }
    middle = (1 + len(ranks)) / 2
    distance = ranking.result.critical_difference
    return {
        "$schema": SCHEMA,
        "description": "Average ranks of the methods; bars join methods that do not differ",
        "title": f"{ranking.title}; critical difference {distance:.2f}",
        "width": 460,
        "height": 22 * (len(ranks) + len(bars) + 2),
        "layer": [
            {
                "data": {"values": ranks},
                "mark": {"type": "rule", "color": NEUTRAL},
                "encoding": {"x": {"field": "rank", **rank_axis}, "y": y, "y2": {"datum": top}},
            },
        ]
        + [
            {
                "data": {"values": ranks},
                "transform": [{"filter": f"datum.rank {side} {middle}"}],
                "mark": {"type": "text", "align": align, "dx": offset, "dy": -2},
                "encoding": {
                    "x": {"field": "rank", **rank_axis},
                    "y": y,
                    "text": {"field": "method"},
                },
            }
            for side, align, offset in (("<=", "left", 5), (">", "right", -5))
        ]
        + [
            {
                "data": {"values": bars},
                "mark": {"type": "rule", "strokeWidth": 5, "strokeCap": "round", "color": NEUTRAL},
                "encoding": {"x": {"field": "first", **rank_axis}, "x2": {"field": "last"}, "y": y},
            },
        ],
    }
