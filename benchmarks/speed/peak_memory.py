"""Peak memory of a piece of work: of the process, or of what is allocated on an accelerator."""

from __future__ import annotations

import gc
from pathlib import Path

import torch


def start_memory(device: str) -> int:
    """Bytes in use; from here on the peak is measured."""
    gc.collect()
    if device != "cpu":
        torch.accelerator.reset_peak_memory_stats()
        return torch.accelerator.memory_allocated()
    # 5 sets the peak of the resident set back to its present size (man 5 proc).
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def peak_memory(device: str) -> int:
    """The most bytes in use since `start_memory`."""
    if device != "cpu":
        return torch.accelerator.max_memory_allocated()
    return _status("VmHWM")


def _status(name: str) -> int:
    for entry in Path("/proc/self/status").read_text().splitlines():
        if entry.startswith(f"{name}:"):
            return int(entry.split()[1]) * 1024
    raise RuntimeError(f"this system's /proc/self/status has no {name}")
