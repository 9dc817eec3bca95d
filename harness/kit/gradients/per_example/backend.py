"""The interface of per-example gradients: losses of single examples, and what is refused."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from harness.errors import HarnessError, UsageError
from harness.kit.gradients.column_blocks import ColumnBlock, joined
from harness.kit.training.parameter_layout import ParameterLayout

Batch = Mapping[str, Tensor]
Losses = Callable[[nn.Module, Batch], Tensor]
"""From a module and a batch, each tensor [b, ...], to the loss of every example, [b].

An example's loss may depend on its own row only.
"""


@dataclass(frozen=True)
class PerExampleGradients(ABC):
    """Gradients of every example's own loss with respect to the parameters of a layout.

    module: in eval mode, its parameters in the layout trainable; losses: see `Losses`;
    dtype: of the gradients that come out, whatever the model computes in.
    """

    module: nn.Module
    losses: Losses
    layout: ParameterLayout
    dtype: torch.dtype = torch.float32

    def matrix(self, batch: Batch) -> Tensor:
        """[b, P], without graph; a parameter that the loss does not reach has zeros in place.

        Raises:
            UsageError: see `blocks`.
        """
        return joined(self.blocks(batch), self.layout.size)

    @abstractmethod
    def blocks(self, batch: Batch) -> Iterator[ColumnBlock]:
        """The columns of `matrix` in ascending order, without holding all of them where possible.

        Raises:
            UsageError: a module is in training mode, the parameters do not fit the layout, the
                batch is ragged, or the model has what this way cannot differentiate.
            HarnessError: the losses are not one number an example that depends on a parameter.
        """

    def _prepare(self, batch: Batch) -> tuple[int, dict[str, nn.Parameter]]:
        """The batch size, and the parameters in the order of the layout."""
        require_eval(self.module)
        return batch_size(batch), self.layout.parameters(self.module)

    def _losses(self, batch: Batch, rows: int) -> Tensor:
        losses = self.losses(self.module, batch)
        if losses.shape != (rows,):
            raise HarnessError(
                f"the loss function gave a tensor of shape {list(losses.shape)} for {rows}"
                " examples; it should give one loss for each, never their mean"
            )
        if not losses.requires_grad:
            raise HarnessError("the losses do not depend on any trainable parameter")
        return losses


def batch_size(batch: Batch) -> int:
    """Rows of a batch.

    Raises:
        UsageError: the batch is empty, or its tensors disagree.
    """
    sizes = {name: value.shape[0] if value.ndim else 0 for name, value in batch.items()}
    rows = next(iter(sizes.values()), 0)
    if rows == 0 or any(size != rows for size in sizes.values()):
        raise UsageError(f"a batch needs the same positive number of rows in all tensors: {sizes}")
    return rows


def require_eval(module: nn.Module) -> None:
    """Refuses a model of which any part is in training mode: dropout would make gradients random.

    Raises:
        UsageError: a module is in training mode; adding an adapter leaves its dropout so.
    """
    for name, part in module.named_modules():
        if part.training:
            raise UsageError(
                f"module '{name or type(part).__name__}' is in training mode",
                hint="Call .eval() on the whole model, after adding or loading adapters.",
            )
