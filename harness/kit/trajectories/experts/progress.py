"""How far a recording is: the exact parameters and memory at its last kept state."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from harness.kit.files.manifest_file import damaged
from harness.kit.trajectories.experts.manifest import WHAT, ExpertManifest
from harness.kit.trajectories.experts.optimizer import OptimizerMemory

_NAME = "progress.safetensors"


@dataclass(frozen=True)
class RecordingProgress:
    """Expert `expert` stands at state `state`; those before it are finished.

    weights: [P] float32.
    """

    expert: int
    state: int
    weights: Tensor
    memory: OptimizerMemory


def write_progress(folder: Path, progress: RecordingProgress) -> None:
    """Whole or not at all."""
    from safetensors.numpy import save

    arrays = {
        "place": np.array([progress.expert, progress.state, progress.memory.step]),
        "weights": progress.weights.numpy(),
        "memory": progress.memory.vectors.numpy(),
    }
    partial = folder / f"{_NAME}.partial"
    with partial.open("wb") as file:
        file.write(save(arrays))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(folder / _NAME)


def read_progress(folder: Path, manifest: ExpertManifest) -> RecordingProgress:
    """What was written last; the beginning, with weights of zero, when nothing was.

    Raises:
        HarnessError: it cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    size, count = manifest.layout.size, len(manifest.options.optimizer.memories)
    if not (folder / _NAME).exists():
        nothing = OptimizerMemory(0, torch.zeros(count, size))
        return RecordingProgress(0, -1, torch.zeros(size), nothing)
    try:
        arrays = load_file(folder / _NAME)
        expert, state, step = (int(value) for value in arrays["place"])
        memory = OptimizerMemory(step, torch.from_numpy(arrays["memory"]))
        return RecordingProgress(expert, state, torch.from_numpy(arrays["weights"]), memory)
    except (SafetensorError, KeyError, ValueError) as error:
        raise damaged(folder, WHAT, f"{_NAME} cannot be read") from error
