"""The shape of a CLIP: heads and widths of every layer of both towers, as JSON and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from harness.errors import UsageError


@dataclass(frozen=True)
class LayerShape:
    """One residual layer.

    heads: 0 for a layer without attention; head_width: numbers of a head's queries;
    mlp: numbers between the two linear maps, 0 for a layer without them.
    """

    heads: int
    head_width: int
    mlp: int


@dataclass(frozen=True)
class TowerShape:
    """width: of the residual stream; layers: from the input to the output."""

    width: int
    layers: tuple[LayerShape, ...]


@dataclass(frozen=True)
class ClipShape:
    """Both towers; embedding: the width of the space in which they meet."""

    image: TowerShape
    text: TowerShape
    embedding: int


def shape_of(model: nn.Module) -> ClipShape:
    """The shape of a CLIP whose towers are plain transformers.

    Raises:
        UsageError: a tower is something else: a convolutional network, a timm or Hugging Face
            model, or a transformer with layer scale, norms inside attention or pooling by
            attention.
    """
    for name in ("visual.transformer.resblocks", "transformer.resblocks"):
        _check_plain(model, name)
    visual: Any = model.visual
    text: Any = model
    if getattr(visual, "attn_pool", None) is not None:
        raise _unsupported("its image tower pools by attention")
    if visual.proj is None or text.text_projection is None:
        raise _unsupported("one of its towers has no projection")
    return ClipShape(
        image=TowerShape(visual.class_embedding.shape[0], _layers(visual.transformer)),
        text=TowerShape(text.token_embedding.embedding_dim, _layers(text.transformer)),
        embedding=visual.proj.shape[1],
    )


def layers_to_json(shape: ClipShape) -> dict[str, list[list[int]]]:
    """Heads, head width and mlp of every layer, by tower."""
    return {
        tower: [[layer.heads, layer.head_width, layer.mlp] for layer in layers]
        for tower, layers in (("image", shape.image.layers), ("text", shape.text.layers))
    }


def layers_of_json(stored: Sequence[Sequence[int]]) -> tuple[LayerShape, ...]:
    """One tower of what `layers_to_json` gave."""
    return tuple(LayerShape(*layer) for layer in stored)


def sized_config(config: Mapping[str, Any], shape: ClipShape) -> dict[str, Any]:
    """The arguments of a CLIP like that of `config`, but of another shape.

    The key `layers` says what open_clip's own arguments cannot: how large each layer is. Fixed
    position embeddings become learnable ones, since open_clip has them for some widths only.
    """
    vision = {**config["vision_cfg"], "width": shape.image.width, "head_width": shape.image.width}
    text = {**config["text_cfg"], "width": shape.text.width, "heads": 1}
    return {
        **config,
        "embed_dim": shape.embedding,
        "vision_cfg": {**vision, "layers": 1, "pos_embed_type": "learnable"},
        "text_cfg": {**text, "layers": 1},
        "layers": layers_to_json(shape),
    }


def _layers(transformer: Any) -> tuple[LayerShape, ...]:
    return tuple(_layer(block) for block in transformer.resblocks)


def _layer(block: Any) -> LayerShape:
    heads = head_width = mlp = 0
    if block.attn is not None:
        heads = block.attn.num_heads
        head_width = block.attn.in_proj_weight.shape[0] // (3 * heads)
    if block.mlp is not None:
        mlp = block.mlp.c_fc.out_features
    return LayerShape(heads, head_width, mlp)


def _check_plain(model: nn.Module, name: str) -> None:
    try:
        blocks: Any = model.get_submodule(name)
    except AttributeError:
        raise _unsupported(f"it has no '{name}'") from None
    for block in blocks:
        attention = getattr(block, "attn", None)
        plain = attention is None or isinstance(
            getattr(attention, "in_proj_weight", None), nn.Parameter
        )
        scaled = not isinstance(getattr(block, "ls_1", nn.Identity()), nn.Identity)
        if not plain or scaled or type(block).__name__.startswith("Custom"):
            raise _unsupported(f"the layers in '{name}' are not plain ones")


def _unsupported(reason: str) -> UsageError:
    return UsageError(
        f"this CLIP is not made of two plain transformers: {reason}",
        hint="Choose a student and a teacher with a vision transformer, such as clip:tiny, or"
        " go without inheritance.",
    )
