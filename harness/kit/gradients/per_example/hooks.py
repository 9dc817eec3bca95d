"""Per-example gradients by hooks: one forward and one backward pass for the whole batch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from harness.errors import HarnessError, UsageError
from harness.kit.gradients.column_blocks import ColumnBlock
from harness.kit.gradients.per_example.backend import Batch, PerExampleGradients
from harness.kit.gradients.per_example.rules import Factor, LayerCall, Rule, rule_for
from harness.kit.training.parameter_layout import ParameterLayout

_TOLERANCE = {torch.bfloat16: 5e-2, torch.float16: 5e-2}


@dataclass(frozen=True)
class PerExampleFactors:
    """Gradients of a batch as what the layers read and got back, not yet multiplied out.

    factors: for each parameter, one factor for every call of every layer that uses it; none where
    the loss does not reach it. The gradient is their sum.
    """

    layout: ParameterLayout
    factors: dict[str, list[Factor]]
    rows: int
    dtype: torch.dtype
    device: torch.device

    def blocks(self) -> Iterator[ColumnBlock]:
        """The gradients parameter by parameter, each [b, size]; only one exists at a time."""
        for slot in self.layout.slots:
            parts = [factor.gradient().flatten(1) for factor in self.factors.get(slot.name, ())]
            width = slot.stop - slot.start
            values = torch.zeros(self.rows, width, dtype=self.dtype, device=self.device)
            yield ColumnBlock(slot.start, parts[0] if len(parts) == 1 else sum(parts, values))


@dataclass(frozen=True)
class HookGradients(PerExampleGradients):
    """Models whose trainable parameters sit in layers of `rules`; frozen layers may be anything.

    A layer may be called several times and two layers may share a weight. Examples must not
    influence one another, and the first dimension of what a trained layer reads is the batch.

    verify: also ask autograd for a weighted sum of the losses' gradients and compare, at the
    price of a usual backward pass; it finds weights that are used outside their layer's forward,
    and layers whose first dimension is the batch by coincidence only.
    """

    verify: bool = False

    def blocks(self, batch: Batch) -> Iterator[ColumnBlock]:
        return self.factors(batch).blocks()

    def factors(self, batch: Batch) -> PerExampleFactors:
        """The gradients of a batch in factors.

        Raises:
            UsageError: a trained layer has no rule, or was called in a way that loses examples.
            HarnessError: the gradients are not those of autograd; with `verify`.
        """
        rows, parameters = self._prepare(batch)
        layers = _layers(self.module, parameters)
        with torch.enable_grad(), _Recorder(layers) as recorder:
            losses = self._losses(batch, rows)
        records = recorder.records
        silent = _unrecorded(layers, records)
        edges = [record.edge for record in records]
        extra = [parameters[name] for name in silent]
        returned = torch.autograd.grad(
            losses.sum(), [*edges, *extra], allow_unused=True, retain_graph=self.verify
        )
        for name, gradient in zip(silent, returned[len(edges) :], strict=True):
            if gradient is not None:
                raise _used_elsewhere(name)
        factors = PerExampleFactors(
            layout=self.layout,
            factors=self._factors(records, returned[: len(edges)], rows),
            rows=rows,
            dtype=self.dtype,
            device=losses.device,
        )
        if self.verify:
            _verify(factors, losses, parameters)
        return factors

    def _factors(
        self, records: list[_Record], returned: tuple[Tensor | None, ...], rows: int
    ) -> dict[str, list[Factor]]:
        factors: dict[str, list[Factor]] = defaultdict(list)
        for record, gradient in zip(records, returned, strict=True):
            if gradient is None:
                continue
            record.require_unchanged()
            layer, own_gradient = record.layer, gradient.reshape(record.shape)
            call = LayerCall(
                layer.name, layer.module, record.inputs, own_gradient, rows, self.dtype
            )
            for name, own, rule in layer.trained:
                factors[name].append(rule(call, own))
        return factors


@dataclass(frozen=True)
class _Layer:
    """A module that owns trained parameters: (name in the layout, own name, rule) of each."""

    name: str
    module: nn.Module
    trained: tuple[tuple[str, str, Rule], ...]


@dataclass(frozen=True)
class _Record:
    """One call: its input, the state it was in, its output's shape and its gradient's edge."""

    layer: _Layer
    inputs: Tensor
    version: int
    shape: torch.Size
    edge: GradientEdge

    def require_unchanged(self) -> None:
        if self.inputs._version != self.version:
            raise UsageError(
                f"the input of '{self.layer.name}' is changed in place after it was read",
                hint="Use the loop.",
            )


class _Recorder:
    """Writes down the calls of some layers inside the block; what is recomputed later is not."""

    def __init__(self, layers: list[_Layer]) -> None:
        self.records: list[_Record] = []
        self._layers = layers
        self._stack = ExitStack()

    def __enter__(self) -> _Recorder:
        for layer in self._layers:
            hook = layer.module.register_forward_hook(self._hook(layer), with_kwargs=True)
            self._stack.callback(hook.remove)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _hook(self, layer: _Layer) -> Any:
        def record(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
            given = [*args, *kwargs.values()]
            if len(given) != 1:
                raise UsageError(
                    f"'{layer.name}' is called with {len(given)} arguments, its rule knows one",
                    hint="Freeze it, or use the loop.",
                )
            inputs = given[0]
            if not out.requires_grad:
                raise UsageError(
                    f"'{layer.name}' is called without a graph, as re-entrant gradient"
                    " checkpointing does",
                    hint="Use checkpointing with use_reentrant=False.",
                )
            self.records.append(
                _Record(layer, inputs.detach(), inputs._version, out.shape, _edge(out))
            )

        return record


def _edge(out: Tensor) -> GradientEdge:
    """Where the gradient of a layer's output arrives, even if that is changed in place later.

    A change of a view is recorded in its base and leaves the view's own edge behind; some releases
    of torch give the output of a linear layer as a view, of other shape and the same numbers.
    """
    base = out._base
    if base is None or base.numel() != out.numel():
        return get_gradient_edge(out)
    same_order = base.is_contiguous() and out.is_contiguous()
    return get_gradient_edge(base if same_order and base.requires_grad else out)


def _layers(module: nn.Module, parameters: dict[str, nn.Parameter]) -> list[_Layer]:
    names = {id(parameter): name for name, parameter in parameters.items()}
    layers = []
    for prefix, part in module.named_modules():
        trained = tuple(
            (names[id(parameter)], own, rule_for(prefix, part, own))
            for own, parameter in part.named_parameters(recurse=False, remove_duplicate=False)
            if id(parameter) in names
        )
        if trained:
            layers.append(_Layer(prefix, part, trained))
    return layers


def _unrecorded(layers: list[_Layer], records: list[_Record]) -> list[str]:
    """Parameters of layers that were never called; by autograd they must not matter."""
    called = {name for record in records for name, _, _ in record.layer.trained}
    owned = {name: None for layer in layers for name, _, _ in layer.trained}
    return [name for name in owned if name not in called]


def _verify(
    factors: PerExampleFactors, losses: Tensor, parameters: dict[str, nn.Parameter]
) -> None:
    """Compares with autograd on the losses weighted 1, 2, ... b, which tells examples apart."""
    weights = torch.arange(1, len(losses) + 1, dtype=losses.dtype, device=losses.device)
    truth = torch.autograd.grad(
        (losses * weights).sum(), list(parameters.values()), allow_unused=True
    )
    for slot, block, expected in zip(factors.layout.slots, factors.blocks(), truth, strict=True):
        found = weights.to(factors.dtype) @ block.values
        wanted = torch.zeros_like(found) if expected is None else expected.to(found).reshape(-1)
        scale = torch.maximum(wanted.norm(), found.norm())
        tolerance = _TOLERANCE.get(parameters[slot.name].dtype, 1e-3)
        if (found - wanted).norm() > tolerance * scale:
            raise _used_elsewhere(slot.name)


def _used_elsewhere(name: str) -> HarnessError:
    return HarnessError(
        f"the per-example gradients of '{name}' are not those of autograd: it is used outside the"
        " forward pass of its layer, or the layer's first dimension is not the batch",
        hint="Freeze it, or use the loop.",
    )
