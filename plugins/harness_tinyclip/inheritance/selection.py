"""Structured pruning: selected channels, heads and layers cut out as smaller weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.kit.clip.shape import ClipShape, LayerShape, TowerShape
from harness_tinyclip.inheritance.layout import Axis, Part, layer_name, place_of


@dataclass(frozen=True)
class LayerSelection:
    """What is kept of a layer.

    source: its number before; heads, mlp: [k] int64, empty where the part is removed.
    """

    source: int
    heads: Tensor
    mlp: Tensor

    def keeps(self, part: Part) -> bool:
        """Whether anything of a part is kept."""
        return len(self.heads if part == "attention" else self.mlp) > 0

    def indices(self, shape: LayerShape) -> dict[Axis, Tensor]:
        """Places along the axes of the layer's parameters; shape: the layer's, before.

        Queries, keys and values lie above one another, so a head has rows in each third.
        """
        inside = torch.arange(shape.head_width)
        rows = (self.heads[:, None] * shape.head_width + inside).flatten()
        third = shape.heads * shape.head_width
        packed = torch.cat([rows, rows + third, rows + 2 * third])
        return {"heads": rows, "qkv": packed, "mlp": self.mlp}


@dataclass(frozen=True)
class TowerSelection:
    """What is kept of a tower. hidden: [k] int64; layers: in their new order."""

    hidden: Tensor
    layers: tuple[LayerSelection, ...]

    def shape(self, whole: TowerShape) -> TowerShape:
        """The tower's shape after the cut."""
        layers = tuple(
            LayerShape(
                heads=len(kept.heads),
                head_width=whole.layers[kept.source].head_width if len(kept.heads) else 0,
                mlp=len(kept.mlp),
            )
            for kept in self.layers
        )
        return TowerShape(len(self.hidden), layers)


@dataclass(frozen=True)
class ClipSelection:
    """What is kept of both towers and of the space in which they meet, [k] int64."""

    image: TowerSelection
    text: TowerSelection
    embedding: Tensor

    def shape(self, whole: ClipShape) -> ClipShape:
        """The model's shape after the cut."""
        return ClipShape(
            self.image.shape(whole.image), self.text.shape(whole.text), len(self.embedding)
        )


def cut(
    weights: Mapping[str, Tensor], whole: ClipShape, selection: ClipSelection
) -> dict[str, Tensor]:
    """The selected part of every parameter, under the names that a smaller model gives it.

    Words and positions are all kept. A layer's part that is removed has no parameters.

    Args:
        weights: of a model of the shape `whole`, by name.
    """
    found: dict[str, Tensor] = {}
    for name, weight in weights.items():
        place = place_of(name)
        if place.tower is None:
            found[name] = weight.clone()
            continue
        kept: TowerSelection = getattr(selection, place.tower)
        indices: dict[Axis, Tensor] = {"hidden": kept.hidden, "embedding": selection.embedding}
        if place.layer is None:
            found[name] = _take(weight, place.axes, indices)
            continue
        shape: LayerShape = getattr(whole, place.tower).layers[place.layer]
        for number, layer in enumerate(kept.layers):
            if layer.source == place.layer and layer.keeps(place.part):
                inside = indices | layer.indices(shape)
                new_name = layer_name(place.tower, number, place.name)
                found[new_name] = _take(weight, place.axes, inside)
    return found


def _take(weight: Tensor, axes: tuple[Axis, ...], indices: Mapping[Axis, Tensor]) -> Tensor:
    for number, axis in enumerate(axes):
        if axis in indices:
            weight = weight.index_select(number, indices[axis].to(weight.device))
    return weight.clone()
