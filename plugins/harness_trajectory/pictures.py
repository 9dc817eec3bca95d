"""What happened on the way: curves for the record, and a picture of experts and students."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from harness.context import StageContext
from harness.kit.trajectories.picture import Way, png_of, trajectory_picture
from harness_trajectory.expert_segments import Measured, Passages
from harness_trajectory.outer_step import Learnt

DRAWN = {
    "initial": "student on the first rows",
    "before_projection": "student on learned vectors",
    "as_text": "student on their text",
}
_COORDINATES = 1 << 20


def show(
    context: StageContext,
    learnt: Learnt,
    passages: Passages,
    measured: Mapping[str, Measured | None],
) -> None:
    """Keeps the curves, and the picture where the extra `plots` is installed."""
    context.keep_curve("matching loss", learnt.curves["loss"])
    context.keep_curve("step size", learnt.curves["step_size"])
    context.keep_curve("regulariser", learnt.curves["pull"])
    context.keep_curve("gradient norm", learnt.curves["gradient_norm"])
    context.keep_curve("expert loss", passages.trajectories.losses.mean(0))
    found = {name: measured[name] for name in DRAWN}
    for name, each in found.items():
        if each is not None:
            context.keep_curve(f"student's way, {name.replace('_', ' ')}", each.track)
    students = [Way(DRAWN[name], "student", thinned(e.way)) for name, e in found.items() if e]
    png = png_of(
        trajectory_picture([expert(passages), *students], {"drawn passages": learnt.curves["loss"]})
    )
    if png is not None:
        context.keep_picture("trajectories", png)


def expert(passages: Passages) -> Way:
    """The passage that the students of the picture follow."""
    segment = passages.measured()[0]
    states = range(segment.start, segment.target + 1)
    way = torch.stack([passages.trajectories.state(segment.expert, state) for state in states])
    return Way("expert", "expert", thinned(way))


def thinned(states: Tensor) -> Tensor:
    """States [n, P] in at most about a million of their coordinates, evenly spaced."""
    return states[:, :: max(1, states.shape[1] // _COORDINATES)]
