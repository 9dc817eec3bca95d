"""Softened targets of the contrastive loss: the negatives' share, on a schedule (LightCLIP).

LightCLIP (Nie et al. 2023, arXiv 2312.00674) softens the labels of negative samples
progressively; its abstract says no more. Schedule and targets here are a reconstruction.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from harness.kit.clip.contrastive.features import ClipFeatures
from harness.kit.clip.contrastive.kinds import Negatives, Rise
from harness.kit.clip.contrastive.pair_losses import clip_loss, soft_cross_entropy_both_ways


def softened_amount(step: int, steps: int, most: float, rise: Rise = "linear") -> float:
    """The share of negatives at update `step`, counted from 0: from 0 to `most`, never falling.

    It rises as a line or as half a cosine and is `most` at the last update, or `most` throughout.
    """
    if rise == "constant":
        return most
    progress = min(1.0, step / max(1, steps - 1))
    return most * (progress if rise == "linear" else 0.5 - 0.5 * math.cos(math.pi * progress))


@torch.no_grad()
def softened_targets(
    cosines: Tensor, amount: float, negatives: Negatives, temperature: float = 0.1
) -> Tensor:
    """[b, b] targets, rows of sum 1: 1 - amount on the diagonal, `amount` shared among the rest.

    The rest of a row share alike, or as the softmax of cosines_ij / temperature over j != i.
    Where there are no negatives the diagonal keeps all.

    Args:
        cosines: [b, b]; row i is compared with all columns. No gradient flows through it.
    """
    rows = len(cosines)
    own = torch.eye(rows, dtype=torch.bool, device=cosines.device)
    if rows == 1 or amount == 0:
        return own.to(cosines.dtype)
    if negatives == "uniform":
        shares = torch.full_like(cosines, 1.0 / (rows - 1)).masked_fill(own, 0.0)
    else:
        shares = (cosines / temperature).masked_fill(own, -math.inf).softmax(1)
    return (amount * shares).masked_fill(own, 1.0 - amount)


def softened_clip_loss(
    features: ClipFeatures,
    amount: float,
    negatives: Negatives = "similarity",
    temperature: float = 0.1,
) -> Tensor:
    """CLIP's loss with softened targets both ways, a scalar; with amount 0 it is CLIP's loss.

    Similar are an image and a text whose embeddings are, as the model sees them at this step.
    """
    if amount == 0:
        return clip_loss(features)
    cosines = features.image.detach() @ features.text.detach().T
    to_text = softened_targets(cosines, amount, negatives, temperature)
    to_image = softened_targets(cosines.T, amount, negatives, temperature)
    return soft_cross_entropy_both_ways(to_text, to_image, features.logits)
