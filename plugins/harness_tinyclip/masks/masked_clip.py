"""A CLIP whose channels, heads and layers are multiplied by masks."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.func import functional_call

from harness_tinyclip.inheritance.layout import Axis, ParameterLocation, place_of
from harness_tinyclip.masks.masks import ClipMasks, TowerMasks

_KEPT = "kept"


class MaskedLayerNorm(nn.Module):
    """Layer norm over the hidden numbers that `kept` marks, and 0 in the others' places.

    kept: [width] of 0 and 1. Weight and bias keep the names that they have in `nn.LayerNorm`.
    """

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.weight, self.bias = norm.weight, norm.bias
        self.eps = norm.eps
        self.register_buffer(_KEPT, torch.ones_like(norm.weight), persistent=False)

    def forward(self, stream: Tensor) -> Tensor:
        # Random masks may leave nothing of a narrow tower; the output is then 0, not NaN.
        count = self.kept.sum().clamp(min=1)
        centred = (stream - (stream * self.kept).sum(-1, keepdim=True) / count) * self.kept
        variance = centred.square().sum(-1, keepdim=True) / count
        scaled = centred * torch.rsqrt(variance + self.eps)
        return (scaled * self.weight + self.bias) * self.kept


class MaskedClip(nn.Module):
    """A CLIP of plain transformers whose masks are given with each call.

    A mask of a hidden number multiplies all that is written to the residual stream: embeddings,
    their norm, and what each layer adds. A mask of a head or of a number between the two maps of a
    feed-forward part multiplies what it hands on, and a mask of a part what the part adds, biases
    included. Norms that read the stream leave out hidden numbers with a mask of 0.

    clip: shares its parameters with this module, and stays as it is.
    """

    def __init__(self, clip: nn.Module) -> None:
        super().__init__()
        shared = {id(parameter): parameter for parameter in clip.parameters()}
        self.clip = deepcopy(clip, shared)
        for name, module in list(self.clip.named_modules()):
            if isinstance(module, nn.LayerNorm):
                self.clip.set_submodule(name, MaskedLayerNorm(module))

    def forward(self, images: Tensor, tokens: Tensor, masks: ClipMasks) -> tuple[Tensor, Tensor]:
        """Unit embeddings of images [b, 3, h, w] and tokens [b, t], [b, d] each."""
        kept = {
            name: (own.hidden != 0).to(buffer)
            for name, buffer in self.clip.named_buffers()
            if name.endswith(f".{_KEPT}")
            for own in (masks.image if name.startswith("visual.") else masks.text,)
        }
        state = {**multiplied(dict(self.clip.named_parameters()), masks), **kept}
        image, text, *_ = functional_call(self.clip, state, (images, tokens))
        return image, text


def multiplied(weights: Mapping[str, Tensor], masks: ClipMasks) -> dict[str, Tensor]:
    """Weights with the masks multiplied in, of the same shapes; differentiable in both."""
    return {name: _multiplied(weight, place_of(name), masks) for name, weight in weights.items()}


def _multiplied(weight: Tensor, place: ParameterLocation, masks: ClipMasks) -> Tensor:
    if not place.writes:
        return weight
    own: TowerMasks = masks.image if place.tower == "image" else masks.text
    by_axis: dict[Axis, Tensor] = {"hidden": own.hidden}
    if place.layer is not None:
        attention = place.part == "attention"
        part = (own.attention if attention else own.feed_forward)[place.layer]
        by_axis = {"hidden": own.hidden * part, "mlp": own.mlp[place.layer]}
        if "heads" in place.axes:
            heads = own.heads[place.layer]
            head_width = weight.shape[place.axes.index("heads")] // len(heads)
            by_axis["heads"] = heads.repeat_interleave(head_width)
    for number, axis in enumerate(place.axes):
        if axis in by_axis:
            sides = [-1 if other == number else 1 for other in range(weight.ndim)]
            weight = weight * by_axis[axis].to(weight).view(sides)
    return weight
