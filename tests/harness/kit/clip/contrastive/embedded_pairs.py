"""Random pairs of unit embeddings in float64, and slow definitions of what losses are made of."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from harness.kit.clip.contrastive.features import ClipFeatures

Loss = Callable[[ClipFeatures], Tensor]


def pairs(rows: int = 5, width: int = 4, seed: int = 0, scale: float = 7.0) -> ClipFeatures:
    generator = torch.Generator().manual_seed(seed)
    image, text = (
        functional.normalize(
            torch.randn(rows, width, dtype=torch.float64, generator=generator), dim=1
        )
        for _ in range(2)
    )
    return ClipFeatures(image, text, torch.tensor(scale, dtype=torch.float64), None)


def gradients_are_right(loss: Loss, features: ClipFeatures) -> bool:
    """Autograd against differences of a loss by images, texts and scale, in float64.

    Inputs are any vectors here: the losses are functions of what they are given.
    """

    def of_tensors(image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
        return loss(ClipFeatures(image, text, scale, features.bias))

    tensors = (features.image, features.text, features.scale)
    return torch.autograd.gradcheck(of_tensors, [t.clone().requires_grad_() for t in tensors])


def softmax_rows(logits: list[list[float]]) -> list[list[float]]:
    """Row by row, by the definition."""
    powers = [[math.exp(value) for value in row] for row in logits]
    return [[power / sum(row) for power in row] for row in powers]


def cosine_rows(features: ClipFeatures, *, texts_first: bool = False) -> list[list[float]]:
    """Scaled cosines, a row an image, or a row a text."""
    first, second = features.image, features.text
    if texts_first:
        first, second = second, first
    scale = float(features.scale)
    return [[scale * float(a @ b) for b in second] for a in first]


def cross_entropy(targets: list[list[float]], logits: list[list[float]]) -> float:
    """-mean_i sum_j targets_ij log softmax(logits_i)_j."""
    shares = softmax_rows(logits)
    rows = [
        -sum(goal * math.log(share) for goal, share in zip(goals, own, strict=True))
        for goals, own in zip(targets, shares, strict=True)
    ]
    return sum(rows) / len(rows)
