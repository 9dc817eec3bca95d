"""Fine-tuning of text classifiers, by the loop that all students share."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from harness.context import StageContext
from harness.kit.text.classifier import TextClassifier
from harness.kit.text.forward import Forward, forward_pass
from harness.kit.training.batching import EncodedRows
from harness.kit.training.compact_embedding import compactable
from harness.kit.training.loop import Validation, accumulate_in_parts, train_model, weighted_rows
from harness.types import Recipe


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
    """Trains in place by `train_model`, whose arguments and errors see.

    The loss of a batch is sum_i w_i CE_i / sum_i w_i; rows of weight 0 are left out.

    Args:
        targets: [n, classes] target probabilities.
        weights: [n] non-negative.
    """
    kept = weighted_rows(weights)
    rows = encoded.take(kept)
    goals, shares = _tensors(classifier, targets[kept], weights[kept])
    model = classifier.model
    with forward_pass(model, rows, classifier.pad_id, classifier.device) as forward:
        train_model(
            model,
            len(rows),
            lambda batch: accumulate_gradient(forward, batch, goals, shares, recipe.dtype),
            recipe,
            context,
            swap=compactable(model, rows.ids, classifier.pad_id),
            validation=validation,
        )


def accumulate_gradient(
    forward: Forward,
    batch: np.ndarray,
    goals: Tensor,
    shares: Tensor,
    dtype: Literal["float32", "bfloat16"] = "float32",
) -> Tensor:
    """`accumulate_in_parts` of the cross-entropy.

    Without dropout it equals the gradient of the batch padded to its longest row.

    Args:
        goals: [n, classes] target probabilities; dtype: autocast type of the forward pass.
    """
    device = goals.device

    def losses(members: np.ndarray) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bfloat16"):
            logits = forward.logits(members)
        chosen = goals[torch.from_numpy(members).to(device)]
        return functional.cross_entropy(logits.to(goals.dtype), chosen, reduction="none")

    return accumulate_in_parts(forward.split(batch), losses, batch, shares)


def _tensors(
    classifier: TextClassifier, targets: np.ndarray, weights: np.ndarray
) -> tuple[Tensor, Tensor]:
    dtype = torch.promote_types(classifier.model.dtype, torch.float32)
    return (
        torch.from_numpy(targets).to(classifier.device, dtype),
        torch.from_numpy(weights).to(classifier.device, dtype),
    )
