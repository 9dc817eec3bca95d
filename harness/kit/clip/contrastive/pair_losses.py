"""Contrastive losses of paired images and texts: CLIP's cross-entropy and SigLIP's sigmoid loss."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from harness.kit.clip.contrastive.features import ClipFeatures


def contrastive_loss(features: ClipFeatures, weights: Tensor | None = None) -> Tensor:
    """CLIP's loss, SigLIP's of a model with a bias, a scalar.

    Args:
        weights: [b] non-negative, of the pairs; all count alike when None.
    """
    loss = clip_loss if features.bias is None else siglip_loss
    return loss(features, weights)


def clip_loss(features: ClipFeatures, weights: Tensor | None = None) -> Tensor:
    """The mean of the cross-entropies image -> text and text -> image, a scalar.

    Radford et al. 2021 (arXiv 2103.00020), figure 3. A batch of one has the loss 0.

    Args:
        weights: as for `contrastive_loss`; both of a pair's entropies are weighted.
    """
    return paired_cross_entropy(features.logits, weights)


def paired_cross_entropy(logits: Tensor, weights: Tensor | None = None) -> Tensor:
    """CLIP's loss of logits [b, b], rows images and columns texts, whose diagonal is right."""
    own = torch.arange(len(logits), device=logits.device)
    rows, columns = (
        functional.cross_entropy(part, own, reduction="none") for part in (logits, logits.T)
    )
    return 0.5 * ((rows + columns) * _shares(logits, weights)).sum()


def siglip_loss(features: ClipFeatures, weights: Tensor | None = None) -> Tensor:
    """-(1/b) sum_ij log sigmoid(y_ij logit_ij), y being 1 for pairs and -1 elsewhere, a scalar.

    Zhai et al. 2023 (arXiv 2303.15343), equation 1.

    Args:
        weights: as for `contrastive_loss`; a combination has the weight of its image.
    """
    logits = features.logits
    signs = 2.0 * torch.eye(len(logits), dtype=logits.dtype, device=logits.device) - 1.0
    return -(functional.logsigmoid(signs * logits).sum(1) * _shares(logits, weights)).sum()


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


def _shares(logits: Tensor, weights: Tensor | None) -> Tensor:
    """[b] of sum 1."""
    if weights is None:
        return logits.new_full((len(logits),), 1 / len(logits))
    return (weights / weights.sum()).to(logits.dtype)
