"""The size constraint of mask learning: a Lagrangian penalty on both towers together."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import AdamW

from harness_tinyclip.masks.masks import MaskLogits
from harness_tinyclip.masks.sizes import ClipSize, Counted

FIRST_WEIGHT = 10.0


class SizeConstraint(nn.Module):
    """l1 max(t - e, 0) + l2 max(t - e, 0)^2 with expected sparsity e and target t.

    The one-sided form of TinyCLIP's code: nothing is paid for being smaller than asked for, and
    l1 and l2 never fall. Both towers share it, as with the code's `--total-loss-flag`.
    """

    def __init__(self, size: ClipSize, target: float, counted: Counted = "all") -> None:
        """target: the share of the counted parameters that shall go, in [0, 1)."""
        super().__init__()
        self.linear = nn.Parameter(torch.tensor(FIRST_WEIGHT))
        self.quadratic = nn.Parameter(torch.tensor(FIRST_WEIGHT))
        self._size = size
        self._counted: Counted = counted
        self._total = size.total(counted)
        self._target = target

    def sparsity(self, logits: MaskLogits) -> Tensor:
        """The share of the counted parameters that is expected to go, a float64 scalar."""
        return 1 - self._size.kept(logits.probabilities(), self._counted) / self._total

    def target(self, step: int, warmup: int) -> float:
        """The target at a step, counted from 0: it rises linearly over the first `warmup`."""
        return self._target * min(1.0, (step + 1) / warmup) if warmup else self._target

    def penalty(self, sparsity: Tensor, target: float) -> Tensor:
        """What is to be minimised over masks and maximised over the two weights, a scalar."""
        excess = functional.relu(target - sparsity)
        return self.linear * excess + self.quadratic * excess.square()


def mask_optimizer(logits: MaskLogits, constraint: SizeConstraint, rate: float) -> AdamW:
    """AdamW that moves masks down and the constraint's weights up the penalty, without decay.

    A rate below 0 is refused as the default, but taken for a group.
    """
    trained = [parameter for parameter in logits.parameters() if parameter.requires_grad]
    groups = [
        {"params": trained, "lr": rate},
        {"params": list(constraint.parameters()), "lr": -rate},
    ]
    return AdamW(groups, lr=rate, weight_decay=0.0)
