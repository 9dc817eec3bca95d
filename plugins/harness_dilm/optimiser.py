"""AdamW on a schedule with clipping, for generator and learner."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from torch import nn

from harness.errors import HarnessError
from harness.kit.files.adam_memory import AdamMemory
from harness.kit.training.loop import build_optimizer, schedule
from harness.types import Recipe


class Optimiser:
    """Updates a module from its accumulated gradients, `recipe.steps` times at most."""

    def __init__(self, module: nn.Module, recipe: Recipe, what: str) -> None:
        self._parameters = {n: p for n, p in module.named_parameters() if p.requires_grad}
        self._adam = build_optimizer(module, recipe.learning_rate, recipe.weight_decay)
        self._recipe = recipe
        self._what = what
        self._steps = 0

    def step(self) -> float:
        """Clips, sets the scheduled rate, updates and clears the gradients.

        Returns:
            The norm of the gradient before clipping.

        Raises:
            HarnessError: the gradient is not finite.
        """
        recipe = self._recipe
        bound = recipe.clip_norm or math.inf
        norm = float(nn.utils.clip_grad_norm_(self._parameters.values(), bound))
        if not math.isfinite(norm):
            raise HarnessError(
                f"training {self._what} diverged at step {self._steps + 1} with learning rate"
                f" {recipe.learning_rate:g}",
                hint="Lower the learning rate, or raise its warm-up.",
            )
        for group in self._adam.param_groups:
            group["lr"] = recipe.learning_rate * schedule(self._steps, recipe)
        self._adam.step()
        self._adam.zero_grad(set_to_none=True)
        self._steps += 1
        return norm

    def arrays(self) -> dict[str, np.ndarray]:
        """What its later updates depend on, for a file; on a CPU they change with it."""
        memory = AdamMemory.of(self._adam, self._parameters)
        return {"updates": np.array([self._steps]), **memory.arrays()}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Goes on after the updates that `arrays` were taken after."""
        AdamMemory.of_arrays(arrays).put(self._adam, self._parameters)
        self._steps = int(arrays["updates"][0])
