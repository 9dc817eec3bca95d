"""The warm-up: a short LoRA run on a part of the pool, resumable by epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from harness.context import StageContext
from harness.errors import DivergenceError, HarnessError, UsageError
from harness.kit.files.computed_once import computed_once
from harness.kit.language.causal_lm import CausalLM
from harness.kit.language.forward import CausalForward
from harness.kit.language.labelled_rows import LabelledRows
from harness.kit.language.training import (
    accumulate_completion_gradient,
    completion_losses,
    take,
)
from harness.kit.modes import evaluating
from harness.kit.training.loop import build_optimizer, schedule
from harness.kit.training.parameter_layout import ParameterLayout
from harness.randomness import seeded
from harness.types import Recipe
from harness_less.checkpoints import Checkpoint
from harness_less.options import WarmUpOptions
from harness_less.rows import ReadableRows


@dataclass(frozen=True)
class WarmUp:
    """A run on `rows`; an epoch depends on the checkpoint before it, its number and the seed.

    lm: with adapters, the only weights that are trained.
    """

    lm: CausalLM
    layout: ParameterLayout
    rows: LabelledRows
    options: WarmUpOptions
    context: StageContext

    def run(self, folder: Path) -> dict[str, np.ndarray]:
        """The arrays of all checkpoints, `0/` before those of the first, and so on, and `rows`.

        Epochs that an earlier attempt left in `folder` are not computed again.
        """
        found = {"rows": np.array([len(self.rows)])}
        start = Checkpoint.take(
            self.lm.model, self.layout, self._optimizer(), np.zeros(0), np.zeros(0)
        )
        for epoch in range(self.options.epochs):
            path = folder / f"warm-up-{epoch}.safetensors"
            arrays = computed_once(path, partial(self._arrays, epoch, start))
            start = Checkpoint.of_arrays(arrays)
            found |= {f"{epoch}/{name}": array for name, array in arrays.items()}
        return found

    def epoch(self, number: int, start: Checkpoint) -> Checkpoint:
        """Trains from `start` on every row once, the last batch as small as it must be.

        Raises:
            DivergenceError: the loss or the gradient stopped being finite.
        """
        lm, options = self.lm, self.options
        optimizer = self._optimizer()
        start.put_weights(lm.model, self.layout)
        start.put_moments(optimizer, lm.model, self.layout)
        shares = torch.ones(len(self.rows), device=lm.device)
        forward = CausalForward(lm.model, self.rows.rows, lm.pad_id, lm.device)
        order = self.context.numpy_generator("less order", number).permutation(len(self.rows))
        batches = [
            order[i : i + options.batch_size] for i in range(0, len(order), options.batch_size)
        ]
        rates = epoch_rates(len(batches), options)[number]
        losses = np.empty(len(batches))
        shown = self.context.track(batches, f"warm-up, epoch {number + 1}", total=len(batches))
        with seeded(self.context.seed_for("less dropout", number)), training(lm.model):
            for step, batch in enumerate(shown):
                loss = accumulate_completion_gradient(forward, self.rows, batch, shares)
                losses[step] = float(loss)
                self._update(optimizer, losses[step], rates[step], options.clip_norm)
        return Checkpoint.take(lm.model, self.layout, optimizer, rates, losses)

    def _optimizer(self) -> torch.optim.AdamW:
        return build_optimizer(self.lm.model, self.options.learning_rate, weight_decay=0.0)

    def _arrays(self, number: int, start: Checkpoint) -> dict[str, np.ndarray]:
        return self.epoch(number, start).arrays()

    def _update(
        self, optimizer: torch.optim.AdamW, loss: float, rate: float, clip_norm: float
    ) -> None:
        parameters = list(self.layout.parameters(self.lm.model).values())
        norm = nn.utils.clip_grad_norm_(parameters, clip_norm or float("inf"))
        if not np.isfinite(loss) or not bool(torch.isfinite(norm)):
            raise DivergenceError(
                f"the warm-up of less diverged with learning rate {rate:g}",
                hint="Lower the option learning_rate of less.",
            )
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


@contextmanager
def training(model: nn.Module) -> Iterator[None]:
    """Dropout on inside the block, and off in every part after it, whatever happened."""
    model.train()
    try:
        yield
    finally:
        model.eval()


def epoch_rates(steps: int, options: WarmUpOptions) -> list[np.ndarray]:
    """The learning rate of every step, epoch by epoch, of `steps` steps each.

    Raises:
        UsageError: all are zero.
    """
    recipe = Recipe(
        steps=steps * options.epochs,
        learning_rate=options.learning_rate,
        schedule="linear",
        warmup=options.warmup,
    )
    rates = np.array([recipe.learning_rate * schedule(s, recipe) for s in range(recipe.steps)])
    if not rates.any():
        raise UsageError(
            f"the {recipe.steps} steps of the warm-up of less all have the learning rate 0",
            hint="Lower its option warmup, or batch_size, or raise epochs.",
        )
    return np.split(rates, options.epochs)


def warm_up_rows(pool: ReadableRows, fraction: float, context: StageContext) -> LabelledRows:
    """The share of the pool's readable rows that a seed draws, at least one."""
    count = max(1, round(fraction * len(pool.encoded)))
    generator = context.numpy_generator("less warm-up rows")
    return take(pool.encoded, np.sort(generator.permutation(len(pool.encoded))[:count]))


def sound_rows(lm: CausalLM, rows: LabelledRows, context: StageContext) -> LabelledRows:
    """The rows whose loss is finite, so that one broken row does not end the run.

    Raises:
        HarnessError: there is none.
    """
    forward = CausalForward(lm.model, rows.rows, lm.pad_id, lm.device)
    losses = np.empty(len(rows))
    with evaluating(lm.model):
        parts = forward.split(np.arange(len(rows)))
        for members in context.track(parts, "looking at the warm-up's rows", total=len(parts)):
            losses[members] = completion_losses(forward, rows, members).float().cpu().numpy()
    sound = np.flatnonzero(np.isfinite(losses))
    if len(sound) == 0:
        raise HarnessError(
            f"the untrained proxy gives NaN or infinity for all {len(rows)} rows of the warm-up"
            " of less",
            hint="Choose another proxy.",
        )
    return take(rows, sound)


def checkpoints_of(arrays: Mapping[str, np.ndarray], epochs: int) -> list[Checkpoint]:
    """What `WarmUp.run` gave."""
    return [
        Checkpoint.of_arrays(
            {
                name.removeprefix(f"{epoch}/"): array
                for name, array in arrays.items()
                if name.startswith(f"{epoch}/")
            }
        )
        for epoch in range(epochs)
    ]
