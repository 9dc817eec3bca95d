"""Per-example weight gradients of each kind of layer, from its input and its output's gradient.

A linear layer's gradient for one example is the sum over its tokens of outer products of the
output gradient and the input (Goodfellow 2015, "Efficient Per-Example Gradient Computations",
extended to sequences); the other layers are sums of elementwise products.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp
from torch.nn import functional

from harness.errors import UsageError


class Factor(Protocol):
    """One call of one layer, as far as one of its parameters needs it."""

    def gradient(self) -> Tensor:
        """[b, *shape of the parameter]."""


@dataclass(frozen=True)
class OuterProduct:
    """Sum over tokens of left (x) right; left: [b, t, m], right: [b, t, n]."""

    left: Tensor
    right: Tensor

    def gradient(self) -> Tensor:
        return torch.bmm(self.left.transpose(1, 2), self.right)


@dataclass(frozen=True)
class TokenSum:
    """Sum over tokens; values: [b, t, *shape]."""

    values: Tensor

    def gradient(self) -> Tensor:
        return self.values.sum(1)


@dataclass(frozen=True)
class LookupSum:
    """Each token's output gradient added to the row that it looked up.

    ids: [b, t]; values: [b, t, d]; rows: height of the table; skipped: an id that never learns.
    """

    ids: Tensor
    values: Tensor
    rows: int
    skipped: int | None

    def gradient(self) -> Tensor:
        batch, _, width = self.values.shape
        values = self.values
        if self.skipped is not None:
            values = values.masked_fill((self.ids == self.skipped).unsqueeze(-1), 0)
        table = values.new_zeros(batch * self.rows, width)
        shift = torch.arange(batch, device=values.device).unsqueeze(1) * self.rows
        table.index_add_(0, (self.ids + shift).reshape(-1), values.reshape(-1, width))
        return table.view(batch, self.rows, width)


@dataclass(frozen=True)
class LayerCall:
    """One call of a layer in a batch of `rows` examples.

    name: the layer's; inputs: what it read; gradient: of the summed losses by its output;
    dtype: that the gradients are accumulated in.
    """

    name: str
    module: nn.Module
    inputs: Tensor
    gradient: Tensor
    rows: int
    dtype: torch.dtype

    def tokens(self, values: Tensor, trailing: int = 1) -> Tensor:
        """[b, t, *last dimensions] of a tensor whose first dimension is the batch.

        Raises:
            UsageError: the tensor's first dimension is not the batch.
        """
        kept = values.shape[values.ndim - trailing :]
        if self.rows > 1 and (values.ndim <= trailing or values.shape[0] != self.rows):
            raise UsageError(
                f"'{self.name}' computes a tensor of shape {list(values.shape)} in a batch of"
                f" {self.rows}: its examples cannot be told apart",
                hint="Freeze it, or use the loop.",
            )
        return values.reshape(self.rows, -1, *kept)

    def read(self, trailing: int = 1) -> Tensor:
        return self.tokens(self.inputs.to(self.dtype), trailing)

    def returned(self, trailing: int = 1) -> Tensor:
        return self.tokens(self.gradient.to(self.dtype), trailing)


Rule = Callable[[LayerCall, str], Factor]


def rule_for(name: str, module: nn.Module, parameter: str) -> Rule:
    """The rule of the layer that owns a trainable parameter.

    Raises:
        UsageError: no rule covers this layer.
    """
    forward = type(module).forward
    if forward is nn.Linear.forward:
        return _linear
    if forward is nn.Embedding.forward:
        return _embedding(name, module)
    if forward is nn.LayerNorm.forward:
        return _layer_norm
    if type(module).__name__.endswith("RMSNorm") and parameter == "weight":
        return _rms_norm
    if _is_conv1d(module):
        return _conv1d
    raise UsageError(
        f"no rule for the per-example gradient of '{parameter}' of module '{name}'"
        f" ({type(module).__name__})",
        hint="Freeze it, or use the loop.",
    )


def _linear(call: LayerCall, parameter: str) -> Factor:
    if parameter == "bias":
        return TokenSum(call.returned())
    return OuterProduct(call.returned(), call.read())


def _conv1d(call: LayerCall, parameter: str) -> Factor:
    """GPT-2's linear layer, its weight [in, out]."""
    if parameter == "bias":
        return TokenSum(call.returned())
    return OuterProduct(call.read(), call.returned())


def _embedding(name: str, module: nn.Module) -> Rule:
    if module.scale_grad_by_freq or module.max_norm is not None:
        raise UsageError(
            f"embedding '{name}' scales gradients by frequency or renormalises its rows, which"
            " couples the examples of a batch"
        )

    def rule(call: LayerCall, _: str) -> Factor:
        ids = call.tokens(call.inputs, trailing=0)
        return LookupSum(ids, call.returned(), module.num_embeddings, module.padding_idx)

    return rule


def _layer_norm(call: LayerCall, parameter: str) -> Factor:
    shape = call.module.normalized_shape
    returned = call.returned(len(shape))
    if parameter == "bias":
        return TokenSum(returned)
    normal = functional.layer_norm(call.read(len(shape)), shape, eps=call.module.eps)
    return TokenSum(returned * normal)


def _rms_norm(call: LayerCall, parameter: str) -> Factor:
    """Whatever the family multiplies its weight with: the derivative of a layer affine in it."""
    weight = getattr(call.module, parameter).detach()

    def output(value: Tensor) -> Tensor:
        return functional_call(call.module, {parameter: value}, (call.inputs,))

    _, normal = jvp(output, (weight,), (torch.ones_like(weight),))
    trailing = weight.ndim
    return TokenSum(call.returned(trailing) * call.tokens(normal.to(call.dtype), trailing))


def _is_conv1d(module: nn.Module) -> bool:
    known = sys.modules.get("transformers.pytorch_utils")
    return known is not None and type(module).forward is known.Conv1D.forward
