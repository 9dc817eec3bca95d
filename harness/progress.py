"""Progress on stderr: bars with ETA on a terminal, one line per stage elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")


class SilentProgress:
    """Shows nothing: the default of the Python API."""

    def track(self, items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
        del description, total
        yield from items

    @contextmanager
    def stage(self, description: str) -> Iterator[None]:
        del description
        yield


class LineProgress(SilentProgress):
    """One line when a stage starts and one when it ends, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def stage(self, description: str) -> Iterator[None]:
        started = time.monotonic()
        self._console.print(f"… {description}", markup=False, highlight=False)
        yield
        seconds = time.monotonic() - started
        self._console.print(f"✓ {description} ({seconds:.1f} s)", markup=False, highlight=False)


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
        length = total if total is not None else len(items) if isinstance(items, Sized) else None
        bar = self._bars.add_task(f"  {description}", total=length)
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
