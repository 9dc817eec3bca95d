"""The loss of each example of a causal language model, over its own labelled tokens."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.kit.language.labelled_rows import IGNORED


def example_losses(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """[b] mean cross-entropy in nats of each example's own labelled tokens.

    Logits are computed for the last `targets.shape[1]` positions only. With a padding mask
    positions are counted from each row's first real token, so left padding changes nothing. A row
    without a labelled token has the loss NaN and a zero gradient.

    Args:
        batch: as `LabelledRows.batch` makes it.
    """
    inputs = {name: value for name, value in batch.items() if name != "targets"}
    targets = batch["targets"]
    if "attention_mask" in inputs:
        inputs["position_ids"] = (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    kept = targets.shape[1]
    logits = model(**inputs, use_cache=False, logits_to_keep=kept).logits
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    losses = functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none"
    ).view_as(targets)
    return losses.sum(1) / (targets != IGNORED).sum(1)
