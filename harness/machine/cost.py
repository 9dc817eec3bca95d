"""Cost of a stage: wall seconds over all attempts, and peak memory."""

from __future__ import annotations

import ctypes
import gc
import json
import sys
import threading
import time
from pathlib import Path
from types import TracebackType

from harness.errors import ComputedElsewhere
from harness.records.record import Cost

SAMPLE_SECONDS = 0.1
_SAVE_EVERY = 20
_MUCH = 1 << 28
"""Bytes left over from earlier stages that are worth the quarter second of looking for them."""


class Meter:
    """Times a stage and samples its memory; what an attempt spent survives a kill.

    The elapsed time is written to `workdir` every two seconds, so that a stage which was
    killed and resumed is charged for both attempts. One that was put off is charged for none.
    Memory that earlier stages of the process have freed is given back before it is measured.
    """

    def __init__(self, workdir: Path, device: str) -> None:
        self._spent_file = workdir / "spent.json"
        self._device = device
        self._before = _read_spent(self._spent_file)
        self._peak = 0
        self._done = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self._started = 0.0

    def __enter__(self) -> Meter:
        _LEFTOVERS.give_back()
        _reset_device_peak(self._device)
        self._started = time.monotonic()
        self._sampler.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._sampler.join()
        if kind is ComputedElsewhere:
            _write_spent(self._spent_file, self._before)

    def cost(self, extra_seconds: float = 0.0) -> Cost:
        """The bill so far; `extra_seconds` are shared results that were found, not computed."""
        if not self._done.is_set():
            # A stage may be over before its first sample.
            self._peak = max(self._peak, _resident())
        return Cost(
            seconds=round(self._elapsed() + extra_seconds, 3),
            peak_bytes=self._peak,
            device_peak_bytes=_device_peak(self._device),
        )

    def _elapsed(self) -> float:
        return self._before + time.monotonic() - self._started

    def _sample(self) -> None:
        ticks = 0
        while True:
            self._peak = max(self._peak, _resident())
            if self._done.wait(SAMPLE_SECONDS):
                return
            ticks += 1
            if ticks % _SAVE_EVERY == 0:
                _write_spent(self._spent_file, self._elapsed())


class _Leftovers:
    """What a process still holds of stages that are over: the allocator's free pages, and garbage.

    glibc keeps the small blocks of a large model's activations, gigabytes of them, and every
    later stage would seem to need them.
    """

    def __init__(self) -> None:
        self._settled = 0

    def give_back(self) -> None:
        """Returns them to the system; looks for garbage if the process has grown by much."""
        _trim()
        if _resident() > self._settled + _MUCH:
            gc.collect()
            _trim()
        self._settled = _resident()


_LEFTOVERS = _Leftovers()


def _trim() -> None:
    """Other C libraries than glibc lack this, and need it less."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def _resident() -> int:
    """Bytes of the process that are in memory."""
    import psutil

    return int(psutil.Process().memory_info().rss)


def _read_spent(path: Path) -> float:
    try:
        return float(json.loads(path.read_bytes())["seconds"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return 0.0


def _write_spent(path: Path, seconds: float) -> None:
    partial = path.with_suffix(".partial")
    try:
        partial.write_text(json.dumps({"seconds": seconds}))
        partial.replace(path)
    except FileNotFoundError:
        # The stage has just finished and its folder is gone.
        return


def _is_accelerator(device: str) -> bool:
    return device.partition(":")[0] == "cuda"


def _reset_device_peak(device: str) -> None:
    if _is_accelerator(device):
        import torch

        torch.cuda.reset_peak_memory_stats(device)


def _device_peak(device: str) -> int:
    if not _is_accelerator(device):
        return 0
    import torch

    return torch.cuda.max_memory_allocated(device)
