"""The loss of held-out real rows: at the start, and after training on learned rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from harness.errors import DivergenceError
from harness.kit.trajectories.inner_loop.steps import Learned
from harness.kit.trajectories.proxies import Trainable
from harness.randomness import derive_seed
from harness_tdd.outer_step import Learning


@dataclass(frozen=True)
class Stage:
    """Rows at one stage of the way, and how they are trained on."""

    rows: Trainable
    learned: Learned
    step_size: Tensor


def start_loss(learning: Learning) -> float:
    """Before any training, the mean over the heads that nothing was learned from."""
    return float(np.mean([_held_loss(learning, theta) for theta in _starts(learning)]))


def stage_loss(learning: Learning, stage: Stage) -> float | None:
    """After the inner loop from the same heads, on the same order of rows for every stage.

    None where a loop diverges, which unlearned rows may make it do.
    """
    losses = []
    for number, theta in enumerate(_starts(learning)):
        generator = np.random.default_rng(derive_seed("tdd measuring", number))
        loop = learning.loop(stage.rows, generator)
        try:
            states = loop.states(learning.optimizer.begin(theta), stage.learned, stage.step_size)
        except DivergenceError:
            return None
        losses.append(_held_loss(learning, states[-1].theta))
    found = float(np.mean(losses))
    return found if np.isfinite(found) else None


def _starts(learning: Learning) -> list[Tensor]:
    heads = range(learning.options.held_out_heads)
    return [learning.starts.measured_on(number) for number in heads]


@torch.no_grad()
def _held_loss(learning: Learning, theta: Tensor) -> float:
    return float(learning.real.loss(learning.real.held)(theta))
