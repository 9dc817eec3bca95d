"""Trains experts one after the other and keeps their states; goes on after a kill."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from harness.context import StageContext
from harness.errors import DivergenceError, HarnessError
from harness.kit.files import manifest_file
from harness.kit.training.batching import sample_batches
from harness.kit.trajectories.experts.files import create, require_sizes, write_at
from harness.kit.trajectories.experts.manifest import (
    ExpertManifest,
    ExpertOptions,
    read_manifest,
    weights_digest,
)
from harness.kit.trajectories.experts.model import ExpertModel
from harness.kit.trajectories.experts.optimizer import OptimizerMemory
from harness.kit.trajectories.experts.progress import (
    RecordingProgress,
    read_progress,
    write_progress,
)
from harness.kit.trajectories.experts.trajectories import ExpertTrajectories
from harness.randomness import derive_seed


def record_experts(
    folder: Path,
    expert_model: ExpertModel,
    options: ExpertOptions,
    context: StageContext,
    *,
    model: str,
    data: str,
) -> ExpertTrajectories:
    """The experts of a folder, trained as far as an earlier attempt has not done it.

    Every expert begins with the model's present weights, which it has again at the end, and
    sees the rows in an order of its own: shuffled epochs that follow on without a gap, so that no
    batch is short and rows are seen equally often. Dropout is off.

    Args:
        model, data: fingerprints of the frozen weights and of the rows, in their order.

    Raises:
        UsageError: the folder holds experts of another model, initialisation, data or setting.
        DivergenceError: a loss, a gradient or the weights stopped being finite.
        HarnessError: the folder is damaged, or an expert did not move.
    """
    initial = expert_model.weights
    manifest = ExpertManifest(
        model, data, weights_digest(initial), expert_model.rows, expert_model.layout, options
    )
    if (folder / manifest_file.NAME).exists():
        message = f"'{folder}' holds other expert trajectories"
        read_manifest(folder).require_equal(manifest, message)
        require_sizes(folder, manifest)
    else:
        create(folder, manifest, initial.numpy())
    recording = _Recording(folder, manifest, expert_model, initial)
    with expert_model.only_layout_trains():
        try:
            recording.run(context)
        finally:
            expert_model.put(initial)
    return ExpertTrajectories.read(folder)


@dataclass(frozen=True)
class _Recording:
    folder: Path
    manifest: ExpertManifest
    expert_model: ExpertModel
    initial: Tensor

    @property
    def _options(self) -> ExpertOptions:
        return self.manifest.options

    def run(self, context: StageContext) -> None:
        options = self._options
        progress = read_progress(self.folder, self.manifest)
        done = progress.expert * options.steps + max(0, progress.state) * options.every
        left = options.experts * options.steps - done
        if left:
            for _ in context.track(self._updates(progress), "experts", total=left):
                pass

    def _updates(self, progress: RecordingProgress) -> Iterator[None]:
        """Does what is missing, one update after the other."""
        if progress.state >= 0:
            yield from self._expert(progress)
        for expert in range(progress.expert + (progress.state >= 0), self._options.experts):
            count = len(self._options.optimizer.memories)
            memory = OptimizerMemory(0, torch.zeros(count, len(self.initial)))
            start = RecordingProgress(expert, 0, self.initial, memory)
            self._keep(start)
            yield from self._expert(start)

    def _expert(self, start: RecordingProgress) -> Iterator[None]:
        options, expert_model, expert = self._options, self.expert_model, start.expert
        theta = nn.Parameter(start.weights.to(expert_model.device, copy=True))
        optimizer = options.optimizer.build(theta)
        options.optimizer.put(optimizer, theta, start.memory)
        batches = list(self._batches(expert))
        before = start.weights
        for state in range(start.state + 1, options.states):
            first = (state - 1) * options.every
            seen = batches[first : first + options.every]
            losses = np.empty(options.every)
            for step, batch in enumerate(seen):
                losses[step] = self._update(theta, optimizer, batch, expert)
                yield
            # A copy: on the CPU `detach` alone would be the weights that go on changing.
            weights = theta.detach().cpu().clone()
            _require_moved(before, weights, expert, state)
            write_at(self.folder, self.manifest, "losses", (expert, first), losses)
            write_at(self.folder, self.manifest, "batches", (expert, first), np.stack(seen))
            memory = options.optimizer.take(optimizer, theta, state * options.every)
            self._keep(RecordingProgress(expert, state, weights, memory))
            before = weights

    def _update(
        self, theta: nn.Parameter, optimizer: Optimizer, batch: np.ndarray, expert: int
    ) -> float:
        self.expert_model.put(theta)
        theta.grad, loss = self.expert_model.gradient(batch)
        optimizer.step()
        if not np.isfinite(loss) or not bool(torch.isfinite(theta).all()):
            rate = self._options.optimizer.learning_rate
            raise DivergenceError(
                f"expert {expert} diverged with learning rate {rate:g}",
                hint="Lower the experts' learning rate.",
            )
        return loss

    def _keep(self, progress: RecordingProgress) -> None:
        """First the state, then the note that it is there; a state written twice is the same."""
        options, place = self._options, (progress.expert, progress.state)
        write_at(self.folder, self.manifest, "states", place, progress.weights.numpy())
        write_at(self.folder, self.manifest, "memories", place, progress.memory.vectors.numpy())
        if progress.state + 1 == options.states:
            progress = RecordingProgress(progress.expert + 1, -1, progress.weights, progress.memory)
        write_progress(self.folder, progress)

    def _batches(self, expert: int) -> Iterator[np.ndarray]:
        options = self._options
        generator = np.random.default_rng(derive_seed(options.seed, "expert batches", expert))
        return sample_batches(self.manifest.rows, options.batch_size, options.steps, generator)


def _require_moved(before: Tensor, after: Tensor, expert: int, state: int) -> None:
    if torch.equal(before, after):
        raise HarnessError(
            f"expert {expert} did not move between states {state - 1} and {state}",
            hint="Raise the experts' learning rate, or check that their loss has a gradient.",
        )
