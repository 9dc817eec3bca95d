"""Axes of a CLIP's parameters: hidden channels, heads, feed-forward channels, words, positions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Tower = Literal["image", "text"]
Axis = Literal["hidden", "qkv", "heads", "mlp", "embedding", "words", "positions", "fixed"]
"""qkv: queries of all heads, keys of all heads, values of all heads; heads: one after another."""
Part = Literal["attention", "mlp", "outside"]
"""What is removed together: a layer's attention or feed-forward, with the norm before it."""

_IMAGE = "visual."
_BLOCK = re.compile(r"^(visual\.)?transformer\.resblocks\.(\d+)\.(.+)$")
_NORM: tuple[Axis, ...] = ("hidden",)
_IN_BLOCK: dict[str, tuple[Axis, ...]] = {
    "ln_1.weight": _NORM,
    "ln_1.bias": _NORM,
    "attn.in_proj_weight": ("qkv", "hidden"),
    "attn.in_proj_bias": ("qkv",),
    "attn.out_proj.weight": ("hidden", "heads"),
    "attn.out_proj.bias": ("hidden",),
    "ln_2.weight": _NORM,
    "ln_2.bias": _NORM,
    "mlp.c_fc.weight": ("mlp", "hidden"),
    "mlp.c_fc.bias": ("mlp",),
    "mlp.c_proj.weight": ("hidden", "mlp"),
    "mlp.c_proj.bias": ("hidden",),
}
_OUTSIDE: dict[str, tuple[Axis, ...]] = {
    "visual.conv1.weight": ("hidden", "fixed", "fixed", "fixed"),
    "visual.class_embedding": ("hidden",),
    "visual.positional_embedding": ("positions", "hidden"),
    "visual.ln_pre.weight": _NORM,
    "visual.ln_pre.bias": _NORM,
    "visual.ln_post.weight": _NORM,
    "visual.ln_post.bias": _NORM,
    "visual.proj": ("hidden", "embedding"),
    "token_embedding.weight": ("words", "hidden"),
    "positional_embedding": ("positions", "hidden"),
    "ln_final.weight": _NORM,
    "ln_final.bias": _NORM,
    "text_projection": ("hidden", "embedding"),
    "text_projection.weight": ("embedding", "hidden"),
    "text_projection.bias": ("embedding",),
}
_ADDED = (
    "visual.conv1.weight",
    "visual.class_embedding",
    "visual.positional_embedding",
    "visual.ln_pre.weight",
    "visual.ln_pre.bias",
    "token_embedding.weight",
    "positional_embedding",
    "attn.out_proj.weight",
    "attn.out_proj.bias",
    "mlp.c_proj.weight",
    "mlp.c_proj.bias",
)
_OF_BOTH = ("logit_scale", "logit_bias")


@dataclass(frozen=True)
class ParameterLocation:
    """Where a parameter stands.

    tower: None for what both share, such as the temperature; layer: its number, None outside the
    layers; name: inside the layer, or the whole name; axes: one for each dimension.
    """

    tower: Tower | None
    layer: int | None
    name: str
    axes: tuple[Axis, ...]

    @property
    def part(self) -> Part:
        """What it is removed with."""
        if self.layer is None:
            return "outside"
        return "attention" if self.name.startswith(("attn.", "ln_1.")) else "mlp"

    @property
    def writes(self) -> bool:
        """Whether it makes numbers of the residual stream, and does not only read them."""
        return self.name in _ADDED


def place_of(name: str) -> ParameterLocation:
    """The place of a parameter of an `open_clip.model.CLIP` of plain transformers, by its name.

    Raises:
        KeyError: there is no such parameter.
    """
    if name in _OF_BOTH:
        return ParameterLocation(None, None, name, ())
    found = _BLOCK.match(name)
    if found is None:
        return ParameterLocation(
            "image" if name.startswith(_IMAGE) else "text", None, name, _OUTSIDE[name]
        )
    tower, layer, inside = found.groups()
    return ParameterLocation("image" if tower else "text", int(layer), inside, _IN_BLOCK[inside])


def layer_name(tower: Tower, layer: int, inside: str) -> str:
    """The name of a parameter inside a layer."""
    prefix = _IMAGE if tower == "image" else ""
    return f"{prefix}transformer.resblocks.{layer}.{inside}"
