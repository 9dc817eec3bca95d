"""Per-example gradients by torch.func: the gradient of one example, vectorised over the batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from harness.errors import HarnessError, UsageError
from harness.kit.gradients.column_blocks import ColumnBlock
from harness.kit.gradients.per_example.backend import Batch, Losses, PerExampleGradients


@dataclass(frozen=True)
class VmapGradients(PerExampleGradients):
    """Any model whose forward pass has no control flow that depends on values.

    chunk: most examples at once; None takes the whole batch. Attention should be `eager`: fused
    kernels and the shortcuts that look at a mask's values cannot be vectorised.
    """

    chunk: int | None = None

    def blocks(self, batch: Batch) -> Iterator[ColumnBlock]:
        _, parameters = self._prepare(batch)
        wrapped = _LossModule(self.module, self.losses).eval()
        detached = {f"module.{name}": value.detach() for name, value in parameters.items()}

        def loss(values: dict[str, Tensor], row: dict[str, Tensor]) -> Tensor:
            one = {name: value.unsqueeze(0) for name, value in row.items()}
            losses = functional_call(wrapped, values, (one,))
            if losses.shape != (1,):
                raise HarnessError(
                    f"the loss function gave a tensor of shape {list(losses.shape)} for 1 example"
                )
            return losses[0]

        each = vmap(grad(loss), in_dims=(None, 0), chunk_size=self.chunk)
        try:
            found = each(detached, dict(batch))
        except RuntimeError as error:
            if "vmap" not in str(error):
                raise
            raise UsageError(
                f"the model cannot be vectorised: {str(error).splitlines()[0]}",
                hint="Load it with attn_implementation='eager', or use the loop or the hooks.",
            ) from error
        for slot in self.layout.slots:
            gradient = found[f"module.{slot.name}"].flatten(1).to(self.dtype)
            yield ColumnBlock(slot.start, gradient)


class _LossModule(nn.Module):
    """A module whose output is the losses, so that its parameters can be exchanged for a call."""

    def __init__(self, module: nn.Module, losses: Losses) -> None:
        super().__init__()
        self.module = module
        self._losses = losses

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        with torch.enable_grad():
            return self._losses(self.module, batch)
