"""The loss of every example of a causal language model, over its own labelled tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.kit.language.labelled_rows import IGNORED


@dataclass(frozen=True)
class LanguageModelLoss:
    """Cross-entropy of batches made by `LabelledRows.batch`.

    reduction: `mean` or `sum` over an example's own labelled tokens, never over the batch, so
    that an example's loss does not depend on its neighbours.
    """

    reduction: Literal["mean", "sum"] = "mean"

    def __call__(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """[b] losses in nats.

        A row without a labelled token has a zero gradient, and under `mean` the loss NaN.

        Logits are computed for the last `targets.shape[1]` positions only. With a padding mask
        positions are counted from each row's first real token, so left padding changes nothing.
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
        total = losses.sum(1)
        if self.reduction == "sum":
            return total
        return total / (targets != IGNORED).sum(1)
