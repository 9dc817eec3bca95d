"""Real rows: the outer loss of a batch of them, and those that are only measured on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from harness.kit.training.batching import group_overhead, length_groups, token_limit
from harness.kit.trajectories.inner_loop.engines import OuterLoss
from harness.kit.trajectories.proxies import ClassifierProxy

_ROWS_AT_ONCE = 64


@dataclass(frozen=True)
class RealRows:
    """drawn, held: [n] rows of train that are learned from, and that are not."""

    proxy: ClassifierProxy
    drawn: np.ndarray
    held: np.ndarray

    @classmethod
    def of(
        cls,
        proxy: ClassifierProxy,
        sources: np.ndarray,
        held_out: int,
        generator: np.random.Generator,
    ) -> RealRows:
        """`held_out` rows held out, or a quarter of train where that is less; never `sources`."""
        rows = len(proxy.labels)
        others = np.setdiff1d(np.arange(rows), sources)
        held = generator.permutation(others)[: min(held_out, rows // 4)]
        return cls(proxy, np.setdiff1d(np.arange(rows), held), held)

    def batch(self, size: int, generator: np.random.Generator) -> np.ndarray:
        """Different rows to learn from; all where there are no more."""
        return generator.permutation(self.drawn)[:size]

    def loss(self, rows: np.ndarray) -> OuterLoss:
        """The mean cross-entropy of the rows' classes at parameters [P]."""
        proxy, encoded = self.proxy, self.proxy.encoded
        groups = length_groups(
            encoded.lengths[rows],
            _ROWS_AT_ONCE,
            overhead=group_overhead(proxy.device),
            max_tokens=token_limit(proxy.device),
        )
        labels = torch.from_numpy(proxy.labels[rows]).to(proxy.device)

        def loss(flat: Tensor) -> Tensor:
            sums = []
            for group in groups:
                inputs = encoded.pad(rows[group], proxy.classifier.pad_id, proxy.device)
                targets = labels[torch.from_numpy(group).to(proxy.device)]
                logits = proxy.view(flat, **inputs).logits
                sums.append(functional.cross_entropy(logits, targets, reduction="sum"))
            return torch.stack(sums).sum() / len(rows)

        return loss
