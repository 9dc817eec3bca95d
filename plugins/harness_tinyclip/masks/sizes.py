"""Parameter counts under masks, expected and exact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from harness.kit.clip.shape import TowerShape, shape_of
from harness_tinyclip.inheritance.layout import place_of
from harness_tinyclip.masks.masks import ClipMasks, TowerMasks

Counted = Literal["prunable", "all"]
_NORM_VECTORS = 2


@dataclass(frozen=True)
class TowerSize:
    """What a tower's size depends on.

    per_hidden: parameters outside the layers for each hidden number; fixed: the other ones there.
    """

    shape: TowerShape
    per_hidden: int
    fixed: int

    def kept(self, masks: TowerMasks, counted: Counted) -> Tensor:
        """The parameters that are left, a float64 scalar.

        It is linear in every mask by itself. So with independent masks and their probabilities of
        not being 0 it is the expected number, and with masks of 0 and 1 the number.
        """
        hidden = masks.hidden.double().sum()
        norm = _NORM_VECTORS * hidden if counted == "all" else torch.zeros_like(hidden)
        total = self.per_hidden * hidden + self.fixed if counted == "all" else norm
        for number, layer in enumerate(self.shape.layers):
            attention, mlp = masks.attention[number], masks.feed_forward[number]
            per_head = layer.head_width * (4 * hidden + 3)
            total = total + attention * (
                masks.heads[number].sum() * per_head + _any(masks.heads[number]) * (hidden + norm)
            )
            total = total + mlp * (
                masks.mlp[number].sum() * (2 * hidden + 1)
                + _any(masks.mlp[number]) * (hidden + norm)
            )
        return total

    def whole(self) -> TowerMasks:
        """Masks that keep everything."""
        layers = self.shape.layers
        return TowerMasks(
            hidden=torch.ones(self.shape.width),
            heads=tuple(torch.ones(layer.heads) for layer in layers),
            mlp=tuple(torch.ones(layer.mlp) for layer in layers),
            attention=torch.tensor([float(layer.heads > 0) for layer in layers]),
            feed_forward=torch.tensor([float(layer.mlp > 0) for layer in layers]),
        )


@dataclass(frozen=True)
class ClipSize:
    """What a CLIP's size depends on; shared: parameters of neither tower."""

    image: TowerSize
    text: TowerSize
    shared: int

    @classmethod
    def of(cls, model: nn.Module) -> ClipSize:
        """The sizes of a CLIP of plain transformers."""
        shape = shape_of(model)
        outside = {"image": [0, 0], "text": [0, 0]}
        shared = 0
        for name, parameter in model.named_parameters():
            place = place_of(name)
            if place.tower is None:
                shared += parameter.numel()
            elif place.layer is None and "hidden" in place.axes:
                width = parameter.shape[place.axes.index("hidden")]
                outside[place.tower][0] += parameter.numel() // width
            elif place.layer is None:
                outside[place.tower][1] += parameter.numel()
        return cls(
            image=TowerSize(shape.image, *outside["image"]),
            text=TowerSize(shape.text, *outside["text"]),
            shared=shared,
        )

    def kept(self, masks: ClipMasks, counted: Counted = "all") -> Tensor:
        """The parameters that are left of both towers, a float64 scalar.

        counted: `prunable` takes weights and biases of attention and feed-forward parts alone;
        `all` takes embeddings, norms, projections and temperature, too.
        """
        towers = self.image.kept(masks.image, counted) + self.text.kept(masks.text, counted)
        return towers + self.shared if counted == "all" else towers

    def total(self, counted: Counted = "all") -> int:
        """The parameters that there are."""
        return int(self.kept(ClipMasks(self.image.whole(), self.text.whole()), counted))


def _any(mask: Tensor) -> Tensor:
    """The probability that one or more of independent units are kept."""
    return 1 - (1 - mask).prod()
