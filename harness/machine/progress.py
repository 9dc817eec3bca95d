"""Progress on stderr: bars on a terminal, lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from harness.context import SilentProgress

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")


class LineProgress(SilentProgress):
    """For logs and pipes: a line when a stage starts and when it ends, and one a minute in a loop.

    interval: seconds between two lines of a loop.
    """

    def __init__(self, console: Console, interval: float = 60.0) -> None:
        self._console = console
        self._interval = interval

    def track(self, items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
        length = _length(items, total)
        started = shown = time.monotonic()
        for done, item in enumerate(items):
            now = time.monotonic()
            if done and now - shown >= self._interval:
                shown = now
                self._print(f"  {description}: {_how_far(done, length, now - started)}")
            yield item

    @contextmanager
    def stage(self, description: str) -> Iterator[None]:
        started = time.monotonic()
        self._print(f"… {description}")
        yield
        self._print(f"✓ {description} ({time.monotonic() - started:.1f} s)")

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False)


class BarProgress:
    """Rich bars: one for the stage, one for each loop inside it."""

    def __init__(self, console: Console) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )

    def __enter__(self) -> BarProgress:
        self._bars.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._bars.stop()

    def track(self, items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
        bar = self._bars.add_task(f"  {description}", total=_length(items, total))
        try:
            for item in items:
                yield item
                self._bars.advance(bar)
        finally:
            self._bars.remove_task(bar)

    @contextmanager
    def stage(self, description: str) -> Iterator[None]:
        bar = self._bars.add_task(description, total=None)
        try:
            yield
        finally:
            self._bars.remove_task(bar)


def _length(items: Iterable[object], total: int | None) -> int | None:
    if total is not None:
        return total
    return len(items) if isinstance(items, Sized) else None


def _how_far(done: int, length: int | None, seconds: float) -> str:
    """Such as `30 of 150 after 4 min, about 16 min left`, judged by the mean so far."""
    if length is None:
        return f"{done} after {_shown(seconds)}"
    left = seconds / done * (length - done)
    return f"{done} of {length} after {_shown(seconds)}, about {_shown(left)} left"


def _shown(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
