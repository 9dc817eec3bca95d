"""The loss of held-out real rows: at the start, and after training on synthetic data."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from harness.errors import DivergenceError
from harness.kit.trajectories.proxies import SyntheticData
from harness.randomness import derive_seed
from harness_tdd.outer_step import PerformanceMatching


def start_loss(matching: PerformanceMatching) -> float:
    """Before any training, the mean over the heads that nothing was learned from."""
    return float(np.mean([_held_loss(matching, theta) for theta in _initial(matching)]))


def held_out_loss(matching: PerformanceMatching, data: SyntheticData) -> float | None:
    """After inner loops from the same heads, all data compared on the same order of batches.

    None where a loop diverges, which unlearned rows may make it do.
    """
    losses = []
    for number, theta in enumerate(_initial(matching)):
        generator = np.random.default_rng(derive_seed("tdd measuring", number))
        loop = matching.inner_loop(data.rows, generator)
        try:
            states = loop.states(matching.optimizer.begin(theta), data.learned, data.step_size)
        except DivergenceError:
            return None
        losses.append(_held_loss(matching, states[-1].theta))
    found = float(np.mean(losses))
    return found if np.isfinite(found) else None


def _initial(matching: PerformanceMatching) -> list[Tensor]:
    heads = range(matching.options.held_out_heads)
    return [matching.initial.measured_on(number) for number in heads]


@torch.no_grad()
def _held_loss(matching: PerformanceMatching, theta: Tensor) -> float:
    return float(matching.real.loss(matching.real.held)(theta))
