"""The training loop that all students share: AdamW on a schedule, as the recipe says."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import AdamW

from harness.context import StageContext
from harness.errors import DivergenceError, UsageError
from harness.kit.training.batching import sample_batches
from harness.kit.training.compact_embedding import EmbeddingSwap
from harness.randomness import seeded
from harness.types import Recipe

Validation = Callable[[], float]
Accumulate = Callable[[np.ndarray], Tensor]
"""Adds the gradient of the loss of some rows to `.grad`; returns that loss, without graph."""


def accumulate_in_parts(
    parts: Iterable[np.ndarray],
    losses: Callable[[np.ndarray], Tensor],
    batch: np.ndarray,
    shares: Tensor,
) -> Tensor:
    """Adds the gradient of a batch's loss to `.grad`, one part of the batch at a time.

    Args:
        parts: of the batch's row indices; losses: of each row of a part; shares: [n] weights.

    Returns:
        The loss sum_i w_i L_i / sum_i w_i over the batch, a scalar without graph.
    """
    total = shares[torch.from_numpy(batch).to(shares.device)].sum()
    loss = torch.zeros((), dtype=shares.dtype, device=shares.device)
    for members in parts:
        weights = shares[torch.from_numpy(members).to(shares.device)]
        part = (losses(members) * weights).sum() / total
        part.backward()
        loss += part.detach()
    return loss


def train_model(
    model: nn.Module,
    rows: int,
    accumulate: Accumulate,
    recipe: Recipe,
    context: StageContext,
    *,
    swap: EmbeddingSwap | None = None,
    after_step: Callable[[int], None] | None = None,
    validation: Validation | None = None,
) -> None:
    """Trains in place for `recipe.steps` updates with dropout on; leaves the model in eval mode.

    The same context seed gives the same weights, bit for bit on a CPU with the same number of
    threads. The loss of every step is kept as the curve `loss`.

    Args:
        rows: how many there are to draw batches from.
        swap: puts a compact input embedding in place while training.
        after_step: told the number of each update, from 0, once its weights are in place.
        validation: a score of the model as it stands, higher is better. With the recipe's
            checkpoint `validation` it is asked `recipe.evaluations` times, evenly spaced, and
            the best weights, the earliest among equals, are kept.

    Raises:
        UsageError: there is nothing to choose a checkpoint by.
        DivergenceError: the loss or the gradient stopped being finite.
    """
    if recipe.checkpoint == "validation" and validation is None:
        raise UsageError("the recipe chooses its checkpoint on validation, but none was given")
    keeper = _BestWeights(model, validation) if recipe.checkpoint == "validation" else None
    checks = check_steps(recipe)
    batches = sample_batches(
        rows, recipe.batch_size, recipe.steps, context.numpy_generator("batches")
    )
    with seeded(context.seed_for("dropout")), swap.compact() if swap else nullcontext():
        optimizer = build_optimizer(model, recipe.learning_rate, recipe.weight_decay)
        model.train()
        losses = np.empty(recipe.steps)
        for step, batch in enumerate(context.track(batches, "training", total=recipe.steps)):
            loss = accumulate(batch)
            _update(model, optimizer, loss, step, recipe, swap)
            losses[step] = float(loss)
            if after_step is not None:
                after_step(step)
            if keeper is not None and step + 1 in checks:
                with swap.dense() if swap else nullcontext():
                    keeper.check()
        model.eval()
    context.keep_curve("loss", losses)
    if keeper is not None:
        keeper.restore()


def weighted_rows(weights: np.ndarray) -> np.ndarray:
    """Positions of the rows that count.

    Raises:
        UsageError: no row has a positive weight.
    """
    kept = np.flatnonzero(weights > 0)
    if len(kept) == 0:
        raise UsageError("no training row has a positive weight")
    return kept


def build_optimizer(model: nn.Module, learning_rate: float, weight_decay: float) -> AdamW:
    """AdamW over the trained parameters, of which those of `decay_groups` decay."""
    decayed, exempt = decay_groups(model)
    parameters = dict(model.named_parameters())
    groups = [
        {"params": [parameters[name] for name in decayed], "weight_decay": weight_decay},
        {"params": [parameters[name] for name in exempt], "weight_decay": 0.0},
    ]
    return AdamW([group for group in groups if group["params"]], lr=learning_rate, fused=True)


def decay_groups(model: nn.Module) -> tuple[list[str], list[str]]:
    """Names of the trained parameters with and without weight decay.

    Biases, the parameters of norm layers and single numbers, such as CLIP's temperature, do not
    decay. A norm layer is known by its module's type, not by its parameter's name: GPT-2 calls its
    norms `ln_1`, which a search for "LayerNorm" misses.
    """
    exempt = {
        f"{prefix}.{name}" if prefix else name
        for prefix, module in model.named_modules()
        for name, parameter in module.named_parameters(recurse=False)
        if _is_norm(module) or name == "bias" or name.endswith("_bias") or parameter.numel() == 1
    }
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    return [n for n in trained if n not in exempt], [n for n in trained if n in exempt]


def schedule(step: int, recipe: Recipe) -> float:
    """The factor on the learning rate at update `step`, counted from 0.

    It rises linearly from 0 over the first `warmup` share of the steps, then falls to 0 as a
    line or as half a cosine (Loshchilov and Hutter 2017, equation 5), or stays at 1.
    """
    warmup = round(recipe.warmup * recipe.steps)
    if step < warmup:
        return step / warmup
    progress = (step - warmup) / max(1, recipe.steps - warmup)
    if recipe.schedule == "linear":
        return 1.0 - progress
    if recipe.schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * progress))
    return 1.0


def check_steps(recipe: Recipe) -> set[int]:
    """After how many updates validation is asked: evenly spaced, the last one included."""
    checks = max(1, recipe.evaluations)
    return {max(1, round(recipe.steps * (check + 1) / checks)) for check in range(checks)}


class _BestWeights:
    """Remembers the weights with the best validation score."""

    def __init__(self, model: nn.Module, validation: Validation | None) -> None:
        assert validation is not None
        self._model = model
        self._validation = validation
        self._best = -math.inf
        self._weights: dict[str, Tensor] = {}

    def check(self) -> None:
        score = self._validation()
        if score > self._best:
            self._best = score
            self._weights = {k: v.detach().clone() for k, v in self._model.state_dict().items()}

    def restore(self) -> None:
        self._model.load_state_dict(self._weights)


def _update(
    model: nn.Module,
    optimizer: AdamW,
    loss: Tensor,
    step: int,
    recipe: Recipe,
    swap: EmbeddingSwap | None,
) -> None:
    """Clips, sets the scheduled rate, steps and clears the gradients."""
    rate = recipe.learning_rate * schedule(step, recipe)
    norm = loss
    if recipe.clip_norm > 0:
        norm = nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
    if not bool(torch.isfinite(loss) & torch.isfinite(norm)):
        raise DivergenceError(
            f"training diverged at step {step + 1} with learning rate {rate:g}",
            hint="Lower the recipe's learning_rate, or raise its warmup.",
        )
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    if swap is not None:
        swap.decay(1.0 - rate * recipe.weight_decay)


def _is_norm(module: nn.Module) -> bool:
    known = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.modules.batchnorm._NormBase)
    return isinstance(module, known) or type(module).__name__.endswith("Norm")
