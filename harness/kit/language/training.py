"""Fine-tuning of a causal language model on completions, by the loop that all students share."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from harness.context import StageContext
from harness.errors import UsageError
from harness.kit.language.causal_lm import CausalLM, LabelledTokens
from harness.kit.language.forward import CausalForward
from harness.kit.language.labelled_rows import LabelledRows
from harness.kit.modes import evaluating
from harness.kit.training.batching import EncodedRows
from harness.kit.training.compact_embedding import compactable
from harness.kit.training.loop import Validation, accumulate_in_parts, train_model, weighted_rows
from harness.types import Recipe


def train_causal_lm(
    lm: CausalLM,
    encoded: LabelledRows,
    weights: np.ndarray,
    recipe: Recipe,
    context: StageContext,
    *,
    validation: Validation | None = None,
) -> None:
    """Trains in place by `train_model`, whose arguments and errors see.

    The loss of a batch is sum_i w_i L_i / sum_i w_i, L_i the mean cross-entropy of row i over its
    own labelled tokens, so a long completion counts no more than a short one; rows of weight 0
    are left out.

    Args:
        weights: [n] non-negative.

    Raises:
        UsageError: a row has no labelled token; names it.
    """
    require_labels(encoded)
    kept = weighted_rows(weights)
    rows = take(encoded, kept)
    shares = torch.from_numpy(weights[kept]).to(lm.device, torch.float32)
    forward = CausalForward(lm.model, rows.rows, lm.pad_id, lm.device)
    train_model(
        lm.model,
        len(rows),
        lambda batch: accumulate_completion_gradient(forward, rows, batch, shares, recipe.dtype),
        recipe,
        context,
        swap=compactable(lm.model, rows.rows.ids, lm.pad_id),
        validation=validation,
    )


def accumulate_completion_gradient(
    forward: CausalForward,
    rows: LabelledRows,
    batch: np.ndarray,
    shares: Tensor,
    dtype: Literal["float32", "bfloat16"] = "float32",
) -> Tensor:
    """`accumulate_in_parts` of the rows' losses; dtype: autocast type of the forward pass."""

    def losses(members: np.ndarray) -> Tensor:
        with torch.autocast(shares.device.type, torch.bfloat16, enabled=dtype == "bfloat16"):
            return completion_losses(forward, rows, members)

    return accumulate_in_parts(forward.split(batch), losses, batch, shares)


def completion_losses(forward: CausalForward, rows: LabelledRows, members: np.ndarray) -> Tensor:
    """[len(members)] mean cross-entropy of each row over its own labelled tokens, in nats."""
    tokens = LabelledTokens.of(rows, members)
    logits = forward.logits(members, tokens.rows, tokens.positions)
    device = logits.device
    values = functional.cross_entropy(
        logits.to(torch.promote_types(logits.dtype, torch.float32)),
        torch.from_numpy(tokens.targets).to(device),
        reduction="none",
    )
    owners = torch.from_numpy(tokens.rows).to(device)
    counts = torch.bincount(owners, minlength=len(members))
    return values.new_zeros(len(members)).index_add(0, owners, values) / counts


def mean_completion_loss(lm: CausalLM, encoded: LabelledRows) -> float:
    """The mean of the rows' losses, dropout off: what a checkpoint is chosen by."""
    forward = CausalForward(lm.model, encoded.rows, lm.pad_id, lm.device)
    with evaluating(lm.model):
        parts = forward.split(np.arange(len(encoded)))
        return sum(float(completion_losses(forward, encoded, p).sum()) for p in parts) / len(
            encoded
        )


def require_labels(encoded: LabelledRows) -> None:
    """Raises UsageError when a row has no labelled token, naming the first one."""
    empty = encoded.unlabelled()
    if len(empty):
        raise UsageError(
            f"{len(empty)} rows have no token to learn from; the first is row {empty[0]}"
        )


def take(encoded: LabelledRows, indices: np.ndarray) -> LabelledRows:
    """The rows at `indices`, in that order."""
    rows: EncodedRows = encoded.rows.take(indices)
    return LabelledRows(rows, tuple(encoded.labels[i] for i in indices))
