"""Gradient matching: the similarity of two gradients, and its gradient in the sample weights.

A synthetic batch x_i of one class has the weighted gradient g(w) = sum_i w_i s_i, with s_i the
learner's gradient on sample i. The loss is L = 1 - cos(g_real, g(w)). Since g is linear in w,

    dL/dw_i = <s_i, v>,    v = dL/dg = -(g_real / (|g_real| |g|) - cos g / |g|^2),

so a backward pass through the learner's gradient is never needed: for a linear head s_i is the
outer product (p_i - y_i) (x) [h_i; 1], and for the whole network <s_i, v> is the derivative of
sample i's loss along v, one forward-mode pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Leaves = tuple[Tensor, ...]


@dataclass(frozen=True)
class Alignment:
    """Two gradients compared as one vector each.

    similarity: their cosine; 0 when either is zero. direction: the gradient of the loss
    1 - cosine in the synthetic gradient, leaf by leaf; zero when either is zero.
    degenerate: whether either was zero.
    """

    similarity: float
    direction: Leaves
    degenerate: bool


@dataclass(frozen=True)
class Match:
    """One class's alignment, and the gradient [n] of its loss in the samples' weights."""

    alignment: Alignment
    weight_gradient: Tensor


@dataclass(frozen=True)
class HeadBatch:
    """What the head's gradient on a batch is made of.

    features: [n, d], what enters the head; residuals: [n, classes], probabilities minus the
    one-hot label; bias: whether the head has one.
    """

    features: Tensor
    residuals: Tensor
    bias: bool = True

    @classmethod
    def at(cls, head: nn.Linear, features: Tensor, label: int) -> HeadBatch:
        """Rows of one class under the head's present weights."""
        with torch.no_grad():
            residuals = head(features).softmax(-1)
        residuals[:, label] -= 1.0
        return cls(features, residuals, head.bias is not None)

    def gradient(self, weights: Tensor) -> Leaves:
        """sum_i w_i of the samples' gradients of the head: [classes, d] and [classes]."""
        weighted = self.residuals * weights[:, None]
        weight = weighted.T @ self.features
        return (weight, weighted.sum(0)) if self.bias else (weight,)

    def along(self, direction: Leaves) -> Tensor:
        """[n] inner products of the samples' gradients with a direction."""
        projected = self.features @ direction[0].T
        if self.bias:
            projected = projected + direction[1]
        return (self.residuals * projected).sum(1)

    def mean_gradient(self) -> Leaves:
        """The gradient of the mean loss."""
        count = len(self.residuals)
        return self.gradient(self.residuals.new_full((count,), 1.0 / count))

    def match(self, real: Leaves, weights: Tensor) -> Match:
        """This batch, weighted, against the gradient of a real one."""
        alignment = align(real, self.gradient(weights))
        return Match(alignment, self.along(alignment.direction))


def align(real: Leaves, synthetic: Leaves) -> Alignment:
    """Compares two gradients, all their leaves taken as one vector (DiLM, equation 4)."""
    real_norm, norm = _norm(real), _norm(synthetic)
    if real_norm == 0 or norm == 0:
        return Alignment(0.0, tuple(torch.zeros_like(leaf) for leaf in synthetic), True)
    units = [(a / real_norm, g / norm) for a, g in zip(real, synthetic, strict=True)]
    cosine = float(sum((a * g).sum() for a, g in units))
    direction = tuple((cosine * g - a) / norm for a, g in units)
    return Alignment(cosine, direction, False)


def sample_weights(losses: Tensor, temperature: float) -> Tensor:
    """[n] softmax of minus the samples' losses: likelier samples weigh more; they sum to 1."""
    return torch.softmax(-losses / temperature, dim=-1)


def backward_matching_loss(
    weights: Sequence[Tensor], matches: Sequence[Match], share: float = 1.0
) -> None:
    """Adds the gradient of `share` times the mean over classes of the matching losses.

    Args:
        weights: of each class, [n_c], with the generator's graph behind them.
        matches: of each class, made with the same weights.
    """
    factor = share / len(weights)
    gradients = [
        factor * match.weight_gradient.to(weight)
        for weight, match in zip(weights, matches, strict=True)
    ]
    torch.autograd.backward(list(weights), gradients)


def _norm(leaves: Leaves) -> float:
    return float(sum(leaf.detach().square().sum() for leaf in leaves)) ** 0.5
