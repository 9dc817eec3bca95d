"""Progress in a log: stages begin and end with a line, and long loops say how far they are."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator

import pytest
from rich.console import Console

from harness.machine import progress
from harness.machine.progress import BarProgress, LineProgress

Clock = Callable[[float], None]


@pytest.fixture
def advance(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Moves the clock by so many seconds."""
    now = 1000.0

    def move(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    return move


def lines(work: Callable[[LineProgress], None]) -> list[str]:
    """What some work leaves in a log."""
    log = io.StringIO()
    work(LineProgress(Console(file=log, width=200)))
    return log.getvalue().splitlines()


def run(shown: LineProgress, advance: Clock, steps: int, seconds: float, **total: int) -> None:
    for _ in shown.track(range(steps), "training", **total):
        advance(seconds)


def test_a_stage_has_a_line_at_both_ends_with_its_seconds(advance: Clock) -> None:
    def work(shown: LineProgress) -> None:
        with shown.stage("fit [bold]"):
            advance(2.5)

    assert lines(work) == ["… fit [bold]", "✓ fit [bold] (2.5 s)"]


def test_a_loop_says_once_a_minute_how_far_it_is_and_what_is_left(advance: Clock) -> None:
    assert lines(lambda shown: run(shown, advance, 10, 24.0)) == [
        "  training: 3 of 10 after 1 min, about 3 min left",
        "  training: 6 of 10 after 2 min, about 2 min left",
        "  training: 9 of 10 after 4 min, about 24 s left",
    ]


def test_hours_are_shown_as_hours(advance: Clock) -> None:
    first = lines(lambda shown: run(shown, advance, 2, 60.0, total=120))[0]
    assert first == "  training: 1 of 120 after 1 min, about 1 h 59 min left"


def test_a_quick_loop_says_nothing(advance: Clock) -> None:
    assert lines(lambda shown: run(shown, advance, 100, 0.5)) == []


def test_a_loop_of_unknown_length_gives_no_time_left(advance: Clock) -> None:
    def work(shown: LineProgress) -> None:
        items: Iterator[int] = iter(range(3))
        for _ in shown.track(items, "sampling"):
            advance(90.0)

    assert lines(work) == ["  sampling: 1 after 2 min", "  sampling: 2 after 3 min"]


def test_every_item_passes_through_and_a_bar_is_removed_when_a_loop_is_left() -> None:
    log = io.StringIO()
    items = ["a", "b", "c"]
    assert list(LineProgress(Console(file=log)).track(items, "loop")) == items
    with BarProgress(Console(file=log, force_terminal=True)) as bars:
        assert list(bars.track(items, "whole")) == items
        for item in bars.track(items, "left early"):
            if item == "b":
                break
        assert list(bars.track(iter(items), "again", total=3)) == items
        assert not bars._bars.tasks
