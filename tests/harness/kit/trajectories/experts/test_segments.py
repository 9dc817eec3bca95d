"""Segments are drawn uniformly from what was recorded, and never beyond it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from harness.errors import UsageError
from harness.kit.trajectories.experts import ExpertTrajectories, Segment, draw_segment

Record = Callable[..., ExpertTrajectories]


def test_experts_and_starts_are_uniform_and_the_span_is_fixed(record: Record) -> None:
    found = record()
    generator = np.random.default_rng(0)
    drawn = Counter(draw_segment(found, generator, max_start=2, span=2) for _ in range(4000))
    expected = {Segment(expert, start, start + 2) for expert in (0, 1) for start in (0, 1)}
    assert set(drawn) == expected
    assert all(abs(count - 1000) < 120 for count in drawn.values())


def test_held_out_experts_are_never_drawn(record: Record) -> None:
    found = record(experts=3)
    generator = np.random.default_rng(0)
    drawn = {
        draw_segment(found, generator, max_start=1, span=1, experts=[0, 2]).expert
        for _ in range(50)
    }
    assert drawn == {0, 2}
    for wrong in ([], [3], [-1]):
        with pytest.raises(UsageError, match="there are experts 0 to 2"):
            draw_segment(found, generator, max_start=1, span=1, experts=wrong)


@pytest.mark.parametrize(("max_start", "span"), [(4, 1), (2, 3), (1, 4)])
def test_a_target_beyond_the_last_state_is_refused(
    record: Record, max_start: int, span: int
) -> None:
    found = record()
    with pytest.raises(UsageError, match=r"need\s+5 states, and 4 were kept"):
        draw_segment(found, np.random.default_rng(0), max_start=max_start, span=span)


@pytest.mark.parametrize(("max_start", "span"), [(3, 1), (2, 2), (1, 3)])
def test_the_last_state_is_a_target(record: Record, max_start: int, span: int) -> None:
    found = record()
    generator = np.random.default_rng(0)
    targets = {
        draw_segment(found, generator, max_start=max_start, span=span).target for _ in range(60)
    }
    assert max(targets) == 3


def test_no_start_and_no_span_are_refused(record: Record) -> None:
    found = record()
    for max_start, span in ((0, 1), (1, 0)):
        with pytest.raises(UsageError, match="1 or more"):
            draw_segment(found, np.random.default_rng(0), max_start=max_start, span=span)


def test_states_that_do_not_exist_are_refused(record: Record) -> None:
    found = record()
    for expert, state in ((2, 0), (0, 4), (-1, 0), (0, -1)):
        with pytest.raises(UsageError, match=f"no state {state} of expert {expert}"):
            found.state(expert, state)
