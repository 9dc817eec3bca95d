"""The training loop that all classifying students share: one recipe, exact gradients, few pads."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor, nn

from harness.context import StageContext
from harness.errors import HarnessError, UsageError
from harness.kit.batching import EncodedRows, group_overhead, length_groups, sample_batches
from harness.kit.compact_embedding import CompactEmbedding
from harness.kit.text_classifier import TextClassifier
from harness.randomness import seeded
from harness.types import Recipe

MICRO_BATCH_ROWS = 64
Validation = Callable[[], float]


def train_classifier(
    classifier: TextClassifier,
    encoded: EncodedRows,
    targets: np.ndarray,
    weights: np.ndarray,
    recipe: Recipe,
    context: StageContext,
    *,
    validation: Validation | None = None,
) -> None:
    """Trains in place for `recipe.steps` updates, with dropout on, and leaves dropout off.

    The loss of a batch is sum_i w_i CE_i / sum_i w_i; rows of weight 0 are left out.

    Args:
        targets: [n, classes] target probabilities.
        weights: [n] non-negative.
        validation: a score, higher is better; asked `recipe.evaluations` times when
            `recipe.checkpoint` is `validation`, and the best weights, the earliest among
            equals, are kept.

    Raises:
        HarnessError: the loss or the gradient is no longer finite.
    """
    kept = np.flatnonzero(weights > 0)
    if len(kept) == 0:
        raise UsageError("every training row has weight 0")
    model, device = classifier.model, classifier.device
    encoded = encoded.take(kept)
    goals = torch.from_numpy(np.asarray(targets[kept], dtype=np.float32)).to(device)
    shares = torch.from_numpy(np.asarray(weights[kept], dtype=np.float32)).to(device)
    embedding = CompactEmbedding.of(model, [*encoded.ids, np.array([classifier.pad_id])])
    optimizer = build_optimizer(model, recipe.learning_rate, recipe.weight_decay)
    keeper = _Keeper(model, validation, _check_steps(recipe)) if validation else None
    batches = sample_batches(
        len(encoded), recipe.batch_size, recipe.steps, context.numpy_generator("batches")
    )
    model.train()
    with seeded(context.seed_for("dropout")), embedding:
        for step, batch in enumerate(context.track(batches, "training", total=recipe.steps)):
            ...
    model.eval()
