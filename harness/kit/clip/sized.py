"""A CLIP whose layers have shapes of their own, under open_clip's parameter names."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from open_clip.transformer import Transformer
from torch import Tensor, nn
from torch.nn import functional

from harness.kit.clip.shape import LayerShape, layers_of_json


class SizedAttention(nn.Module):
    """Self-attention whose heads need not fill the width of the stream.

    in_proj_weight: [3 * heads * head_width, width], queries above keys above values;
    out_proj: heads * head_width to width. The names are those of `nn.MultiheadAttention`.
    """

    def __init__(self, width: int, heads: int, head_width: int) -> None:
        super().__init__()
        inner = heads * head_width
        self.num_heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * inner, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * inner))
        self.out_proj = nn.Linear(inner, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, stream: Tensor, mask: Tensor | None = None) -> Tensor:
        """[b, t, width] to the same; mask: [t, t], added to the logits."""
        batch, length, _ = stream.shape
        packed = functional.linear(stream, self.in_proj_weight, self.in_proj_bias)
        queries, keys, values = packed.view(batch, length, 3, self.num_heads, -1).permute(
            2, 0, 3, 1, 4
        )
        mixed = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
        return self.out_proj(mixed.transpose(1, 2).reshape(batch, length, -1))


class SizedBlock(nn.Module):
    """A residual layer of attention and feed-forward, each of which may be missing.

    template: a layer of open_clip of the same width, whose norms and activation it copies.
    """

    def __init__(self, template: Any, width: int, shape: LayerShape) -> None:
        super().__init__()
        self.ln_1 = deepcopy(template.ln_1) if shape.heads else None
        self.attn = SizedAttention(width, shape.heads, shape.head_width) if shape.heads else None
        self.ln_2 = deepcopy(template.ln_2) if shape.mlp else None
        self.mlp = _feed_forward(template, width, shape.mlp) if shape.mlp else None

    def forward(
        self,
        q_x: Tensor,
        k_x: Tensor | None = None,
        v_x: Tensor | None = None,
        attn_mask: Tensor | None = None,
    ) -> Tensor:
        """open_clip's signature; there is no cross-attention."""
        assert k_x is None
        assert v_x is None
        stream = q_x
        if self.attn is not None and self.ln_1 is not None:
            mask = None if attn_mask is None else attn_mask.to(stream.dtype)
            stream = stream + self.attn(self.ln_1(stream), mask)
        if self.mlp is not None and self.ln_2 is not None:
            stream = stream + self.mlp(self.ln_2(stream))
        return stream


class SizedTransformer(Transformer):
    """open_clip's transformer with layers of the shapes given, or none at all.

    template: what it stands in for; its first layer has the norms and the activation. The new
    weights are drawn from torch's global generator.
    """

    def __init__(self, template: Transformer, layers: tuple[LayerShape, ...]) -> None:
        super().__init__(template.width, layers=0, heads=1, batch_first=template.batch_first)
        first = template.resblocks[0]
        self.layers = len(layers)
        self.resblocks = nn.ModuleList(SizedBlock(first, template.width, shape) for shape in layers)

    def get_cast_dtype(self) -> torch.dtype:
        """open_clip asks the first layer's feed-forward, which may not be there."""
        return next((p.dtype for p in self.parameters()), torch.float32)


def give_layers(model: Any, layers: Mapping[str, Sequence[Sequence[int]]]) -> None:
    """Replaces the layers of both towers of an `open_clip.model.CLIP`, in place.

    Args:
        layers: as `layers_to_json` writes them.
    """
    model.visual.transformer = SizedTransformer(
        model.visual.transformer, layers_of_json(layers["image"])
    )
    model.transformer = SizedTransformer(model.transformer, layers_of_json(layers["text"]))


def _feed_forward(template: Any, width: int, mlp: int) -> nn.Sequential:
    parts = OrderedDict(
        c_fc=nn.Linear(width, mlp),
        gelu=deepcopy(template.mlp.gelu),
        c_proj=nn.Linear(mlp, width),
    )
    return nn.Sequential(parts)
