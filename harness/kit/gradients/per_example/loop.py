"""Per-example gradients by a loop: one backward pass for each example."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.kit.gradients.column_blocks import ColumnBlock
from harness.kit.gradients.per_example.backend import Batch, PerExampleGradients


@dataclass(frozen=True)
class LoopGradients(PerExampleGradients):
    """Any model; as slow as batches of one are."""

    def blocks(self, batch: Batch) -> Iterator[ColumnBlock]:
        rows, parameters = self._prepare(batch)
        tensors = tuple(parameters.values())
        gradients = []
        for row in range(rows):
            one = {name: value[row : row + 1] for name, value in batch.items()}
            with torch.enable_grad():
                loss = self._losses(one, 1).sum()
            found = torch.autograd.grad(loss, tensors, allow_unused=True)
            gradients.append(self._flat(found, tensors))
        yield ColumnBlock(0, torch.stack(gradients))

    def _flat(self, found: tuple[Tensor | None, ...], tensors: tuple[Tensor, ...]) -> Tensor:
        parts = (
            torch.zeros_like(tensor) if gradient is None else gradient
            for gradient, tensor in zip(found, tensors, strict=True)
        )
        return torch.cat([part.to(self.dtype).reshape(-1) for part in parts])
