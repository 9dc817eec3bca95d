"""Losses that tell the pairs of a batch from its other combinations: CLIP's and SigLIP's."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from harness.kit.contrastive.features import PairFeatures


def clip_loss(features: PairFeatures) -> Tensor:
    """The mean of the cross-entropies image -> text and text -> image, a scalar.

    Radford et al. 2021 (arXiv 2103.00020), figure 3. A batch of one has the loss 0.
    """
    return paired_cross_entropy(features.logits)


def paired_cross_entropy(logits: Tensor) -> Tensor:
    """CLIP's loss of logits [b, b], rows images and columns texts, whose diagonal is right."""
    places = torch.arange(len(logits), device=logits.device)
    rows = functional.cross_entropy(logits, places)
    return 0.5 * (rows + functional.cross_entropy(logits.T, places))


def siglip_loss(features: PairFeatures) -> Tensor:
    """-(1/b) sum_ij log sigmoid(y_ij logit_ij), y being 1 for pairs and -1 elsewhere, a scalar.

    Zhai et al. 2023 (arXiv 2303.15343), equation 1.
    """
    logits = features.logits
    signs = 2.0 * torch.eye(len(logits), dtype=logits.dtype, device=logits.device) - 1.0
    return -functional.logsigmoid(signs * logits).sum() / len(logits)


def soft_cross_entropy(targets: Tensor, logits: Tensor) -> Tensor:
    """-mean_i sum_j targets_ij log softmax(logits_i)_j, a scalar; rows of targets have sum 1."""
    return functional.cross_entropy(logits, targets)


def soft_cross_entropy_both_ways(to_text: Tensor, to_image: Tensor, logits: Tensor) -> Tensor:
    """The mean of the soft cross-entropies image -> text and text -> image, a scalar.

    Args:
        to_text: [b, b] targets; row i is image i's distribution over texts.
        to_image: [b, b] targets; row j is text j's distribution over images. It is not the
            transpose of `to_text`, whose columns need not sum to 1.
        logits: [b, b], rows images and columns texts.
    """
    rows = soft_cross_entropy(to_text, logits)
    return 0.5 * (rows + soft_cross_entropy(to_image, logits.T))
