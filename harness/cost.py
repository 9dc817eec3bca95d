"""What a stage costs: wall seconds over all its attempts, and the highest memory it held."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from types import TracebackType

from harness.errors import ComputedElsewhere
from harness.record import Cost

SAMPLE_SECONDS = 0.1
_SAVE_EVERY = 20


class Meter:
    """Times a stage and samples its memory; what an attempt spent survives a kill.

    The elapsed time is written to `workdir` every two seconds, so that a stage which was
    killed and resumed is charged for both attempts. One that was put off is charged for none.
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
        return Cost(
            seconds=round(self._elapsed() + extra_seconds, 3),
            peak_bytes=self._peak,
            device_peak_bytes=_device_peak(self._device),
        )

    def _elapsed(self) -> float:
        return self._before + time.monotonic() - self._started

    def _sample(self) -> None:
        import psutil

        process = psutil.Process()
        ticks = 0
        while True:
            self._peak = max(self._peak, process.memory_info().rss)
            if self._done.wait(SAMPLE_SECONDS):
                return
            ticks += 1
            if ticks % _SAVE_EVERY == 0:
                _write_spent(self._spent_file, self._elapsed())


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
