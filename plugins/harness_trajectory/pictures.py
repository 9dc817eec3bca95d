"""Curves for the record, and a picture of expert and student trajectories."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from harness.context import StageContext
from harness.kit.trajectories.outer_loop import OuterState
from harness.kit.trajectories.picture import DrawnTrajectory, png_of, trajectory_picture
from harness_trajectory.expert_segments import ExpertSegments, MeasuredMatching

DRAWN = {
    "initial": "student on the first rows",
    "before_projection": "student on learned vectors",
    "as_text": "student on their text",
}
_COORDINATES = 1 << 20


def show(
    context: StageContext,
    state: OuterState,
    segments: ExpertSegments,
    measured: Mapping[str, MeasuredMatching | None],
) -> None:
    """Keeps the curves, and the picture where the extra `plots` is installed."""
    context.keep_curve("matching loss", state.curves["loss"])
    context.keep_curve("step size", state.curves["step_size"])
    context.keep_curve("regulariser", state.curves["pull"])
    context.keep_curve("gradient norm", state.curves["gradient_norm"])
    context.keep_curve("expert loss", segments.trajectories.losses.mean(0))
    found = {name: measured[name] for name in DRAWN}
    for name, each in found.items():
        if each is not None:
            context.keep_curve(f"student's way, {name.replace('_', ' ')}", each.distances)
    students = [
        DrawnTrajectory(DRAWN[name], "student", thinned(each.states))
        for name, each in found.items()
        if each
    ]
    kept = context.curves.get("matching loss")
    losses = list(zip(kept.steps, kept.values, strict=True)) if kept else []
    png = png_of(trajectory_picture([expert(segments), *students], losses))
    if png is not None:
        context.keep_picture("trajectories", png)


def expert(segments: ExpertSegments) -> DrawnTrajectory:
    """The segment that the students of the picture are matched to."""
    segment = segments.measured()[0]
    kept = range(segment.start, segment.target + 1)
    states = [segments.trajectories.state(segment.expert, state) for state in kept]
    return DrawnTrajectory("expert", "expert", thinned(torch.stack(states)))


def thinned(states: Tensor) -> Tensor:
    """States [n, P] in at most about a million of their coordinates, evenly spaced."""
    return states[:, :: max(1, states.shape[1] // _COORDINATES)]
