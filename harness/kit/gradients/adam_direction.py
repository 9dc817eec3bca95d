"""Adam's update for the gradient of a single example, given the optimizer's state."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from harness.errors import UsageError
from harness.kit.gradients.column_blocks import ColumnBlock
from harness.kit.training.parameter_layout import ParameterLayout

Formula = Literal["adam", "less"]


@dataclass(frozen=True)
class AdamState:
    """Adam's memory of all parameters of a layout, each flattened to its place.

    first, second: [P] moments, not corrected for their start at zero; steps: for each parameter,
    the updates that it has seen; betas, eps: as the optimiser had them.
    """

    layout: ParameterLayout
    first: Tensor
    second: Tensor
    steps: tuple[int, ...]
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8

    def __post_init__(self) -> None:
        size = self.layout.size
        for name, moment in (("first", self.first), ("second", self.second)):
            if tuple(moment.shape) != (size,):
                raise UsageError(
                    f"the {name} moments have shape {list(moment.shape)}, the layout [{size}]"
                )
            if not bool(torch.isfinite(moment).all()):
                raise UsageError(f"the {name} moments are not all finite")
        if bool((self.second < 0).any()):
            raise UsageError("some second moments are negative: are first and second exchanged?")
        if len(self.steps) != len(self.layout.names) or min(self.steps) < 0:
            raise UsageError(f"{len(self.layout.names)} parameters with steps {list(self.steps)}")

    @classmethod
    def of(cls, optimizer: Optimizer, module: nn.Module, layout: ParameterLayout) -> AdamState:
        """The state of a live `Adam` or `AdamW`, found by parameter and so by name.

        A parameter that was never updated is as Adam would meet it: moments 0, step 0.

        Raises:
            UsageError: a parameter of the layout is not the optimiser's, its groups differ in
                betas or eps, or it changes the gradient in a way that is not modelled (amsgrad,
                maximize, weight decay added to the gradient).
        """
        parameters = layout.parameters(module)
        groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
        foreign = [name for name, p in parameters.items() if id(p) not in groups]
        if foreign:
            raise UsageError(f"the optimiser does not train '{foreign[0]}'")
        used = [groups[id(p)] for p in parameters.values()]
        for group in used:
            _require_plain(group)
        settings = {(tuple(map(float, g["betas"])), float(g["eps"])) for g in used}
        if len(settings) > 1:
            raise UsageError(f"the optimiser's groups differ in betas or eps: {sorted(settings)}")
        (betas, eps) = settings.pop()
        states = [optimizer.state.get(p, {}) for p in parameters.values()]
        named = dict(zip(parameters, states, strict=True))
        return cls.named(
            layout,
            {n: s["exp_avg"] if s else torch.zeros_like(parameters[n]) for n, s in named.items()},
            {
                n: s["exp_avg_sq"] if s else torch.zeros_like(parameters[n])
                for n, s in named.items()
            },
            {n: int(s["step"]) if s else 0 for n, s in named.items()},
            betas=(betas[0], betas[1]),
            eps=eps,
        )

    @classmethod
    def named(
        cls,
        layout: ParameterLayout,
        first: Mapping[str, Tensor],
        second: Mapping[str, Tensor],
        steps: Mapping[str, int],
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> AdamState:
        """A state from moments and steps by parameter name, as saved with a checkpoint.

        Raises:
            UsageError: names or shapes are not those of the layout.
        """
        missing = [name for name in layout.names if name not in steps]
        if missing:
            raise UsageError(f"no step for parameter '{missing[0]}'")
        return cls(
            layout=layout,
            first=layout.flatten(first).detach(),
            second=layout.flatten(second).detach(),
            steps=tuple(steps[name] for name in layout.names),
            betas=betas,
            eps=eps,
        )

    def direction(self, gradients: ColumnBlock, formula: Formula = "adam") -> ColumnBlock:
        """What Adam would subtract for each example alone, divided by the learning rate.

        With m, v the moments, t the step to come and g the gradient, `adam` gives
        (b1 m + (1 - b1) g) / (1 - b1^t) / (sqrt((b2 v + (1 - b2) g^2) / (1 - b2^t)) + eps), which
        is what `torch.optim.Adam` subtracts (Kingma and Ba 2015, algorithm 1); AdamW's decay of
        the weights does not depend on the gradient and is left out. `less` is the formula of the
        published code of LESS: no correction, and 1e-8 under the root.

        Args:
            gradients: columns of the layout, [b, w]; they may begin and end anywhere.
        """
        start, stop = gradients.start, gradients.stop
        values = gradients.values
        b1, b2 = self.betas
        first = self.first[start:stop].to(values) * b1 + values * (1 - b1)
        second = self.second[start:stop].to(values) * b2 + values.square() * (1 - b2)
        if formula == "less":
            return ColumnBlock(start, first / (second + 1e-8).sqrt())
        direction = torch.empty_like(values)
        for slot, step in zip(self.layout.slots, self.steps, strict=True):
            low, high = max(slot.start, start) - start, min(slot.stop, stop) - start
            if low < high:
                root = second[:, low:high].sqrt() / math.sqrt(1 - b2 ** (step + 1))
                rate = 1 - b1 ** (step + 1)
                direction[:, low:high] = first[:, low:high] / (root + self.eps) / rate
        return ColumnBlock(start, direction)


def _require_plain(group: Mapping[str, object]) -> None:
    if "betas" not in group or "eps" not in group:
        raise UsageError("the optimiser is not Adam or AdamW: its groups have no betas and eps")
    for option in ("amsgrad", "maximize"):
        if group.get(option):
            raise UsageError(f"the optimiser uses {option}, whose direction is not modelled")
    if group.get("weight_decay") and not group.get("decoupled_weight_decay"):
        raise UsageError(
            "Adam's weight decay is added to the gradient, so its direction depends on the weights",
            hint="Train with AdamW, or without weight decay.",
        )
