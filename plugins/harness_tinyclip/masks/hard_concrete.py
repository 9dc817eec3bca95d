"""The hard concrete distribution of masks in [0, 1] (L0 regularisation).

Louizos, Welling and Kingma 2018 (arXiv 1712.01312), with the constants of TinyCLIP's code, which
are those of CoFi (Xia, Zhong and Chen 2022, arXiv 2204.00408).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LOW, HIGH = -0.1, 1.1
TEMPERATURE = 2 / 3
EPSILON = 1e-6
FIRST_LOGIT = 10.0
LOGIT_BOUNDS = (math.log(1e-2), math.log(1e2))
EVALUATION_GAIN = 0.8
"""What logits are multiplied by before they scale a unit that is kept in evaluation."""


def sample(logits: Tensor, generator: torch.Generator) -> Tensor:
    """A mask in [0, 1] of the shape of its logits, differentiable in them."""
    noise = torch.rand(logits.shape, generator=generator, dtype=logits.dtype)
    noise = (EPSILON + (1 - 2 * EPSILON) * noise).to(logits.device)
    open_share = torch.sigmoid((torch.logit(noise) + logits) / TEMPERATURE)
    return (open_share * (HIGH - LOW) + LOW).clamp(0, 1)


def probability_kept(logits: Tensor) -> Tensor:
    """P(mask != 0)."""
    return torch.sigmoid(logits - TEMPERATURE * math.log(-LOW / HIGH))


def evaluation_mask(logits: Tensor, shift: float = 0.0, least: int = 0) -> Tensor:
    """One mask for evaluation, without randomness: the lowest logits give 0, the others scale.

    Args:
        logits: [n], one vector of masks of a kind.
        shift: added to the logits when zeros are counted: below 0 there are more.
        least: how many units stay whatever their logits.

    Returns:
        [n]: round(n - sum P(mask != 0)) zeros, the lower place first among equals, and
        sigmoid(0.8 * logit / temperature) elsewhere.
    """
    kept = float(probability_kept(logits.detach().double() + shift).sum())
    zeros = min(round(len(logits) - kept), len(logits) - least)
    mask = torch.sigmoid(EVALUATION_GAIN * logits.detach() / TEMPERATURE)
    mask[torch.argsort(logits.detach(), stable=True)[: max(0, zeros)]] = 0
    return mask
