"""A module as a function of one flat vector of parameters, safe to differentiate twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from harness.errors import UsageError
from harness.kit.training.parameter_layout import ParameterLayout

TWICE_DIFFERENTIABLE = ("eager", "sdpa")
"""Attention of transformers that can be: `sdpa` with the plain kernel, which is enforced."""

_DTYPES = (torch.float32, torch.float64)


@dataclass(frozen=True)
class FlatModule:
    """Calls `module` with the layout's parameters taken from a flat vector [P].

    Everything else in the module is a constant: no gradient reaches it, whatever its own
    `requires_grad` says, and the module itself is never changed.
    """

    module: nn.Module
    layout: ParameterLayout

    def __post_init__(self) -> None:
        self.layout.parameters(self.module)
        _require_eval(self.module)
        _require_attention(self.module)
        self._require_precision()

    @classmethod
    def of(cls, module: nn.Module, names: Iterable[str] | None = None) -> FlatModule:
        """Of the trainable parameters, such as an adapter's, or of the named ones.

        Raises:
            UsageError: nothing is trainable, a name is not there; a module in training mode, whose
                dropout would differ from step to step; parameters in half precision, in which
                second derivatives are noise; an attention kernel without second derivatives.
        """
        return cls(module, ParameterLayout.of(module, names))

    def start(self) -> Tensor:
        """[P] a copy of the parameters as they are."""
        parameters = self.layout.parameters(self.module)
        return self.layout.flatten({n: p.detach() for n, p in parameters.items()}).clone()

    def __call__(self, flat: Tensor, *arguments: Any, **named: Any) -> Any:
        """The module's output at the parameters `flat`."""
        with _plain_attention():
            values = {**self._constants, **self.layout.split(flat)}
            return functional_call(self.module, values, arguments, named)

    def parameter(self, parameter: nn.Parameter, flat: Tensor) -> Tensor:
        """A parameter of the module at `flat`: its part of the vector, or the constant it is."""
        name = self._names.get(id(parameter))
        return parameter.detach() if name is None else self.layout.split(flat)[name]

    @cached_property
    def _names(self) -> dict[int, str]:
        parameters = self.layout.parameters(self.module)
        return {id(parameter): name for name, parameter in parameters.items()}

    @cached_property
    def _constants(self) -> dict[str, Tensor]:
        named = self.module.named_parameters()
        return {name: p.detach() for name, p in named if id(p) not in self._names}

    def _require_precision(self) -> None:
        tensors = [*self.module.parameters(), *self.module.buffers()]
        found = {t.dtype for t in tensors if t.is_floating_point()} - set(_DTYPES)
        if found:
            raise UsageError(
                f"a model in {_listed(found)} cannot be differentiated twice: its second"
                " derivatives are noise",
                hint="Load it in float32 or float64.",
            )


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Scaled dot-product attention by its formula: the fused kernels have no second derivative."""
    with sdpa_kernel(SDPBackend.MATH):
        yield


def _require_eval(module: nn.Module) -> None:
    training = [name or "the module" for name, part in module.named_modules() if part.training]
    if training:
        raise UsageError(
            f"{training[0]} is in training mode: its dropout would make every step another one",
            hint="Call eval() first.",
        )


def _require_attention(module: nn.Module) -> None:
    for part in module.modules():
        kind = getattr(getattr(part, "config", None), "_attn_implementation", None)
        if kind is not None and kind not in TWICE_DIFFERENTIABLE:
            raise UsageError(
                f"the attention '{kind}' has no second derivative",
                hint="Load the model with attn_implementation='eager' or 'sdpa'.",
            )


def _listed(dtypes: Iterable[torch.dtype]) -> str:
    return " and ".join(sorted(str(dtype).removeprefix("torch.") for dtype in dtypes))
