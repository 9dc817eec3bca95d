"""Matching losses: how far a student trajectory ends from the target of an expert's segment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from harness.errors import UsageError
from harness.kit.training.parameter_layout import ParameterLayout

MatchingName = Literal["squared", "per-layer", "cosine", "product"]
_FLOOR = 1e-12
"""Least squared displacement of an expert, as a share of its squared parameters: below it, what
float32 can tell apart is mostly rounding."""

_FIRST, _SECOND = ".lora_A.", ".lora_B."


@dataclass(frozen=True)
class MatchingTarget:
    """The ends of an expert's segment, which a student trajectory should match.

    start, target: [P] the expert's parameters at both ends, in the layout's order.
    """

    layout: ParameterLayout
    start: Tensor
    target: Tensor

    def __post_init__(self) -> None:
        expected = (self.layout.size,)
        for name, flat in (("start", self.start), ("target", self.target)):
            if tuple(flat.shape) != expected:
                raise UsageError(
                    f"the segment's {name} has shape {list(flat.shape)}, the layout"
                    f" [{self.layout.size}]: were the experts trained on other parameters?"
                )
            if not bool(torch.isfinite(flat).all()):
                raise UsageError(f"the segment's {name} is not finite")

    def loss(self, name: MatchingName) -> Callable[[Tensor], Tensor]:
        """A scalar of the inner loop's last parameters; 0 where it ended at the target.

        - squared: ||end - target||^2 / ||start - target||^2, as MTT (arXiv 2203.11932)
        - per-layer: the mean of that over the parameter tensors
        - cosine: 1 - cos(end - start, target - start), blind to length
        - product: as squared, of the products B A of adapters instead of A and B, of which many
          pairs are the same model

        Raises:
            UsageError: the expert did not move, or hardly; for `product`, parameters that are not
                adapters.
        """
        match name:
            case "squared":
                return self._squared()
            case "per-layer":
                return self._per_layer()
            case "cosine":
                return self._cosine()
            case "product":
                return self._product()

    def _squared(self) -> Callable[[Tensor], Tensor]:
        scale = self._moved("the expert", self.start, self.target)
        return lambda end: (end - self.target).square().sum() / scale

    def _per_layer(self) -> Callable[[Tensor], Tensor]:
        starts, targets = self.layout.split(self.start), self.layout.split(self.target)
        scales = {n: self._moved(f"'{n}'", starts[n], targets[n]) for n in self.layout.names}

        def loss(end: Tensor) -> Tensor:
            parts = self.layout.split(end)
            shares = [(parts[n] - targets[n]).square().sum() / scales[n] for n in scales]
            return torch.stack(shares).mean()

        return loss

    def _cosine(self) -> Callable[[Tensor], Tensor]:
        scale = self._moved("the expert", self.start, self.target).sqrt()
        direction = (self.target - self.start) / scale

        def loss(end: Tensor) -> Tensor:
            moved = end - self.start
            return 1 - (moved @ direction) / moved.norm().clamp(min=torch.finfo(moved.dtype).tiny)

        return loss

    def _product(self) -> Callable[[Tensor], Tensor]:
        pairs = adapter_pairs(self.layout)
        starts = products(self.layout.split(self.start), pairs)
        targets = products(self.layout.split(self.target), pairs)
        scale = self._moved("the expert", torch.cat(starts), torch.cat(targets))

        def loss(end: Tensor) -> Tensor:
            ends = products(self.layout.split(end), pairs)
            gaps = [(e - t).square().sum() for e, t in zip(ends, targets, strict=True)]
            return torch.stack(gaps).sum() / scale

        return loss

    def _moved(self, what: str, start: Tensor, target: Tensor) -> Tensor:
        """D, the squared displacement."""
        moved = (target - start).square().sum()
        least = _FLOOR * torch.maximum(start.square().sum(), target.square().sum())
        if not bool(moved > least):
            raise UsageError(
                f"{what} did not move between the start and the target of a segment"
                f" (squared displacement {float(moved):.3g}, floor {float(least):.3g})",
                hint="Take an earlier start or more expert steps, or train the experts with a"
                " higher learning rate; another matching loss if only some parameters rest.",
            )
        return moved


def adapter_pairs(layout: ParameterLayout) -> list[tuple[str, str]]:
    """The names of each adapter's A [r, in] and B [out, r].

    Raises:
        UsageError: a parameter belongs to no such pair.
    """
    pairs = [(n, n.replace(_FIRST, _SECOND)) for n in layout.names if _FIRST in n]
    paired = {name for pair in pairs for name in pair}
    left = [n for n in layout.names if n not in paired]
    missing = sorted(paired - set(layout.names))
    if left or missing or not pairs:
        what = f"'{(left or missing)[0]}'" if left or missing else "the model"
        raise UsageError(
            f"the loss 'product' is defined for pairs of LoRA matrices, and {what} has none",
            hint="Match adapters, or use the loss 'squared'.",
        )
    return pairs


def products(tensors: Mapping[str, Tensor], pairs: list[tuple[str, str]]) -> list[Tensor]:
    """Each adapter's B A, flattened."""
    return [(tensors[second] @ tensors[first]).reshape(-1) for first, second in pairs]


def relative_displacement(start: Tensor, end: Tensor) -> float:
    """||end - start|| / ||start||: how far an inner loop moves; large values are chaotic."""
    tiny = torch.finfo(start.dtype).tiny
    return float((end - start).norm() / start.norm().clamp(min=tiny))
