"""Folding of learned masks into a smaller model."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from harness.kit.clip.model import build_clip
from harness.kit.clip.shape import ClipShape, TowerShape, shape_of, sized_config
from harness.randomness import seeded
from harness_tinyclip.inheritance.selection import (
    ClipSelection,
    LayerSelection,
    TowerSelection,
    cut,
)
from harness_tinyclip.masks.masked_clip import multiplied
from harness_tinyclip.masks.masks import ClipMasks, MaskLogits, Shift, TowerMasks, indicators
from harness_tinyclip.masks.sizes import ClipSize

_WIDEST_SHIFT = 64.0
_HALVINGS = 48


@dataclass(frozen=True)
class FoldedModel:
    """A model and the arguments that `build_clip` makes one of its shape from."""

    model: nn.Module
    config: Mapping[str, Any]


def fold(clip: nn.Module, config: Mapping[str, Any], masks: ClipMasks) -> FoldedModel:
    """The model that gives what `clip` gives under `masks`, without the parts that are 0.

    A layer without attention and feed-forward part is gone; its parameters, too.

    Args:
        clip: of plain transformers; config: what it was built from.
        masks: as `MaskLogits.evaluated` gives them.
    """
    whole = shape_of(clip)
    with torch.no_grad():
        weights = multiplied(dict(clip.named_parameters()), masks)
        selection = kept_part(whole, masks)
        smaller = sized_config(config, selection.shape(whole))
        with seeded(0):
            model = build_clip(smaller)
        model.load_state_dict(cut(weights, whole, selection))
    device = next(clip.parameters()).device
    return FoldedModel(model.to(device).eval(), smaller)


def kept_part(whole: ClipShape, masks: ClipMasks) -> ClipSelection:
    """What masks leave of a model."""
    return ClipSelection(
        image=_kept_tower(whole.image, masks.image),
        text=_kept_tower(whole.text, masks.text),
        embedding=torch.arange(whole.embedding),
    )


def masks_of_size(logits: MaskLogits, size: ClipSize, parameters: int) -> ClipMasks:
    """The masks of evaluation that leave a number of parameters as near to `parameters` as can be.

    One number is added to all logits when zeros are counted, so that short training, which has
    ordered the units but not yet pushed enough of them down, still gives a model of the size asked
    for; where a step of that number changes several vectors of masks at once, only the first ones
    take it. It adds nothing to what scales the units that are kept.
    """
    shift = Shift(-_WIDEST_SHIFT, _WIDEST_SHIFT)
    for _ in range(_HALVINGS):
        middle = (shift.low + shift.high) / 2
        if _count(logits, size, Shift(middle)) > parameters:
            shift = replace(shift, high=middle)
        else:
            shift = replace(shift, low=middle)
    vectors = sum(1 for _ in logits.parameters())
    fitting = range(vectors + 1)
    above = bisect_right(
        fitting, parameters, key=lambda n: _count(logits, size, replace(shift, raised=n))
    )
    nearest = min(
        (replace(shift, raised=n) for n in fitting[max(0, above - 1) : above + 1]),
        key=lambda tried: abs(_count(logits, size, tried) - parameters),
    )
    return logits.evaluated(nearest)


def _count(logits: MaskLogits, size: ClipSize, shift: Shift) -> int:
    return int(size.kept(indicators(logits.evaluated(shift)), "all"))


def _kept_tower(shape: TowerShape, masks: TowerMasks) -> TowerSelection:
    layers = []
    for number in range(len(shape.layers)):
        heads, mlp = _places(masks.heads[number]), _places(masks.mlp[number])
        if len(heads) or len(mlp):
            layers.append(LayerSelection(number, heads, mlp))
    return TowerSelection(_places(masks.hidden), tuple(layers))


def _places(mask: Tensor) -> Tensor:
    return torch.nonzero(mask).flatten().cpu()
