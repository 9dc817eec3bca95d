"""Segments of expert trajectories: a start, and the target that a student should reach.

Following Cazenavette et al. 2022 (arXiv 2203.11932, section 3.2): an expert and a start are drawn
uniformly, the target lies a fixed number of states later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.errors import UsageError
from harness.kit.trajectories.experts.trajectories import ExpertTrajectories


@dataclass(frozen=True)
class Segment:
    """State `start` of an expert and its later state `target`."""

    expert: int
    start: int
    target: int


def draw_segment(
    trajectories: ExpertTrajectories,
    generator: np.random.Generator,
    *,
    max_start: int,
    span: int,
    experts: Sequence[int] | None = None,
) -> Segment:
    """A segment of `span` states from a start in [0, max_start), both uniform.

    Args:
        experts: which to draw from, all by default; hold some out to measure on them.

    Raises:
        UsageError: a start, its target or an expert lies beyond what was recorded.
    """
    options = trajectories.manifest.options
    if max_start < 1 or span < 1:
        raise UsageError(f"max_start and span should be 1 or more, got {max_start} and {span}")
    if max_start + span > options.states:
        raise UsageError(
            f"starts before state {max_start} with targets {span} states later need"
            f" {max_start + span} states, and {options.states} were kept of each expert",
            hint="Lower max_start or span, or train the experts longer (steps).",
        )
    chosen = range(options.experts) if experts is None else experts
    if not len(chosen) or not set(chosen) <= set(range(options.experts)):
        raise UsageError(f"there are experts 0 to {options.experts - 1}, asked for {list(chosen)}")
    expert = chosen[int(generator.integers(len(chosen)))]
    start = int(generator.integers(max_start))
    return Segment(expert, start, start + span)
