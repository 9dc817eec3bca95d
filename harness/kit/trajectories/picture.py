"""A picture of expert and student trajectories, and of the matching loss.

Trajectories lie in many dimensions; the picture shows their displacement from one origin along its
first two principal components. Distances in the picture are never longer than the true ones, and
the axes say which share of the variance they show.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from harness.drawing import NEUTRAL, PALETTE, SCHEMA, VEGA_LITE, ChartSpec, vl_convert
from harness.errors import MissingDependencyError, UsageError

_BLOCK = 1 << 16
"""Coordinates of all states that are held in float64 at once."""
_SIDE = 320
_PNG_SCALE = 2.0


@dataclass(frozen=True)
class DrawnTrajectory:
    """Parameters one after the other.

    states: [n, P], the first is where it began; name: what the picture's legend says.
    """

    name: str
    role: Literal["expert", "student"]
    states: Tensor


@dataclass(frozen=True)
class PrincipalPlane:
    """places: [n, 2] of each state in the plane; shares: of the variance, along both axes."""

    places: np.ndarray
    shares: tuple[float, float]


def principal_plane(states: Tensor) -> PrincipalPlane:
    """States [n, P] along the first two principal components of their displacements.

    From the [n, n] products of centred states, so that no [P, P] matrix is made; the sign of an
    axis is such that the last state's place on it is not negative.

    Raises:
        UsageError: fewer than two states, or one that is not finite.
    """
    if len(states) < 2 or not bool(torch.isfinite(states).all()):
        raise UsageError("a picture of trajectories needs two states or more, all finite")
    products = sum(block @ block.T for block in _centred(states)).numpy()
    values, vectors = np.linalg.eigh(products)
    first = np.maximum(values[::-1][:2], 0)
    places = vectors[:, ::-1][:, :2] * np.sqrt(first)
    places = places * np.where(places[-1] < 0, -1, 1)
    shares = first / max(float(np.trace(products)), np.finfo(np.float64).tiny)
    return PrincipalPlane(places, (float(shares[0]), float(shares[1])))


def trajectory_picture(
    trajectories: Sequence[DrawnTrajectory], losses: Sequence[tuple[int, float]]
) -> ChartSpec:
    """Both charts side by side, as a Vega-Lite document that carries its data.

    Args:
        losses: outer steps and the matching loss at them; 1 is where a student that did not move
            would be.

    Raises:
        UsageError: no trajectory, trajectories of different lengths P, or two of one name.
    """
    names = [each.name for each in trajectories]
    if len({each.states.shape[1] for each in trajectories}) != 1 or len(set(names)) < len(names):
        raise UsageError("a picture needs trajectories of one model, each with a name of its own")
    return {
        "$schema": SCHEMA,
        "description": "Expert and student trajectories, and the matching loss over outer steps",
        "hconcat": [_trajectories(trajectories), _losses(losses)],
    }


def png_of(spec: ChartSpec) -> bytes | None:
    """The picture drawn, for `StageContext.keep_picture`; None without the extra `plots`."""
    try:
        convert = vl_convert()
    except MissingDependencyError:
        return None
    png: bytes = convert.vegalite_to_png(spec, vl_version=VEGA_LITE, scale=_PNG_SCALE)
    return png


def _centred(states: Tensor) -> Iterator[Tensor]:
    """[n, block] columns in float64, less their means."""
    for columns in states.detach().cpu().split(_BLOCK, dim=1):
        block = columns.double()
        yield block - block.mean(0)


def _trajectories(trajectories: Sequence[DrawnTrajectory]) -> ChartSpec:
    plane = principal_plane(torch.cat([each.states for each in trajectories]))
    low, high = plane.places.min(0), plane.places.max(0)
    # One unit is as long on both axes, or angles and lengths would mislead.
    reach = 0.55 * max(float((high - low).max()), np.finfo(np.float64).tiny)
    middle = (low + high) / 2
    axes = [
        {
            "field": field,
            "type": "quantitative",
            "title": f"{order} principal component, {share:.0%} of the variance",
            "scale": {"domain": [float(m - reach), float(m + reach)], "nice": False},
            "axis": {"format": "~g", "tickCount": 5},
        }
        for field, order, share, m in zip(
            "xy", ("first", "second"), plane.shares, middle, strict=True
        )
    ]
    encoding = {"x": axes[0], "y": axes[1], "color": _colour(trajectories), "strokeDash": _dash()}
    last = {"filter": "datum.end"}
    return {
        "title": "trajectories",
        "width": _SIDE,
        "height": _SIDE,
        "data": {"values": _points(trajectories, plane.places)},
        "layer": [
            {
                "mark": {"type": "line", "strokeWidth": 2, "clip": True},
                "encoding": {**encoding, "order": {"field": "state"}},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 22, "opacity": 1},
                "encoding": {**_places(encoding), "tooltip": _tooltip()},
            },
            {
                "transform": [last],
                "mark": {"type": "point", "filled": True, "size": 130, "opacity": 1},
                "encoding": {**_places(encoding), "shape": _shape()},
            },
        ],
    }


def _points(trajectories: Sequence[DrawnTrajectory], places: np.ndarray) -> list[dict[str, Any]]:
    owners = [(each, state) for each in trajectories for state in range(len(each.states))]
    return [
        {
            "trajectory": each.name,
            "role": each.role,
            "state": state,
            "end": state == len(each.states) - 1,
            "x": float(place[0]),
            "y": float(place[1]),
        }
        for (each, state), place in zip(owners, places, strict=True)
    ]


def _losses(losses: Sequence[tuple[int, float]]) -> ChartSpec:
    scale = "log" if losses and all(loss > 0 for _, loss in losses) else "linear"
    return {
        "title": "matching loss",
        "width": _SIDE,
        "height": _SIDE,
        "layer": [
            {
                "data": {"values": [{"loss": 1}]},
                "mark": {"type": "rule", "strokeDash": [6, 4], "color": NEUTRAL},
                "encoding": {"y": {"field": "loss", "type": "quantitative"}},
            },
            {
                "data": {"values": [{"step": step, "loss": loss} for step, loss in losses]},
                "mark": {
                    "type": "line",
                    "color": PALETTE[0],
                    "point": {"filled": True, "size": 12, "color": PALETTE[0]},
                },
                "encoding": {
                    "x": {"field": "step", "type": "quantitative", "title": "outer step"},
                    "y": {
                        "field": "loss",
                        "type": "quantitative",
                        "title": "matching loss (1: as if nothing had moved)",
                        "scale": {"type": scale, "zero": False},
                        "axis": {"format": "~g"},
                    },
                },
            },
        ],
    }


def _colour(trajectories: Sequence[DrawnTrajectory]) -> ChartSpec:
    """Experts stay in the background, students have a colour each."""
    students = [each.name for each in trajectories if each.role == "student"]
    own = {name: PALETTE[place % len(PALETTE)] for place, name in enumerate(students)}
    names = [each.name for each in trajectories]
    return {
        "field": "trajectory",
        "title": None,
        "scale": {"domain": names, "range": [own.get(name, NEUTRAL) for name in names]},
        "legend": {"orient": "bottom", "columns": 1, "symbolOpacity": 1, "labelLimit": _SIDE},
    }


def _dash() -> ChartSpec:
    return {
        "field": "role",
        "scale": {"domain": ["student", "expert"], "range": [[1, 0], [5, 3]]},
        "legend": None,
    }


def _shape() -> ChartSpec:
    """Where a trajectory ends: a diamond is an expert's target, a circle a student's end."""
    return {
        "field": "role",
        "scale": {"domain": ["student", "expert"], "range": ["circle", "diamond"]},
        "legend": None,
    }


def _places(encoding: Mapping[str, Any]) -> ChartSpec:
    return {name: encoding[name] for name in ("x", "y", "color")}


def _tooltip() -> list[ChartSpec]:
    return [
        {"field": "trajectory"},
        {"field": "state", "type": "quantitative"},
    ]
