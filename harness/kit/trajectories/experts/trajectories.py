"""The recorded experts as arrays, in memory or mapped from a folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from harness.errors import HarnessError, UsageError
from harness.kit.trajectories.experts.files import PARTS, mapped, require_sizes
from harness.kit.trajectories.experts.manifest import ExpertManifest, read_manifest
from harness.kit.trajectories.experts.optimizer import OptimizerMemory
from harness.kit.trajectories.experts.progress import read_progress


@dataclass(frozen=True)
class ExpertTrajectories:
    """States of all experts, and how they came from one to the next.

    initial: [P] float32, where every expert began; states: [experts, states, P] float32; memories:
    [experts, states, k, P] float32, see `memory`; losses: [experts, steps] float32, of each step
    before its update; batches: [experts, steps, batch] int32, the rows of each step.
    """

    manifest: ExpertManifest
    initial: np.ndarray
    states: np.ndarray
    memories: np.ndarray
    losses: np.ndarray
    batches: np.ndarray

    @classmethod
    def read(cls, folder: Path) -> ExpertTrajectories:
        """A folder's finished experts, mapped and not loaded.

        Raises:
            UsageError: there are none.
            HarnessError: they are damaged, or not finished.
        """
        manifest = read_manifest(folder)
        require_sizes(folder, manifest)
        options = manifest.options
        progress = read_progress(folder, manifest)
        if progress.expert < options.experts:
            raise HarnessError(
                f"'{folder}' holds {progress.expert} of {options.experts} experts and"
                f" {progress.state + 1} of {options.states} states of the next",
                hint="Run the same command again: it computes only what is missing.",
            )
        return cls(manifest, **{name: mapped(folder, manifest, name) for name in PARTS})

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything as named arrays, for a cache."""
        text = json.dumps(self.manifest.fields(), sort_keys=True).encode()
        manifest = np.frombuffer(text, dtype=np.uint8)
        return {"manifest": manifest, **{name: np.array(getattr(self, name)) for name in PARTS}}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray]) -> ExpertTrajectories:
        """What `arrays` gave."""
        fields = json.loads(arrays["manifest"].tobytes())
        return cls(ExpertManifest.of_fields(fields), **{name: arrays[name] for name in PARTS})

    def state(self, expert: int, state: int) -> Tensor:
        """[P] float32, a copy of an expert's parameters after `state * every` updates.

        Raises:
            UsageError: there is no such expert or state.
        """
        self._require(expert, state)
        return torch.from_numpy(np.array(self.states[expert, state], dtype=np.float32))

    def memory(self, expert: int, state: int) -> OptimizerMemory:
        """A copy of the optimizer's memory at a state.

        Raises:
            UsageError: there is no such expert or state.
        """
        self._require(expert, state)
        vectors = torch.from_numpy(np.array(self.memories[expert, state], dtype=np.float32))
        return OptimizerMemory(state * self.manifest.options.every, vectors)

    def _require(self, expert: int, state: int) -> None:
        options = self.manifest.options
        if not 0 <= expert < options.experts or not 0 <= state < options.states:
            raise UsageError(
                f"there is no state {state} of expert {expert}: there are {options.experts} experts"
                f" with {options.states} states each, counted from 0"
            )
