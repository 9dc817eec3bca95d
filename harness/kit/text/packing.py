"""Packed BERT-like encoders: rows laid end to end, so that no linear layer computes padding.

Linear layers, norms and dropout see one sequence of all the rows' tokens; attention is computed
row by row, in spans of similar length. The classification heads of these families read only the
first token of a row, so the last layer drops the others right after its attention. Logits and
gradients are those of the padded batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.kit.training.batching import EncodedRows, length_groups

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_NAME = "harness_packed"
_FAMILIES = ("bert", "roberta")


@dataclass(frozen=True)
class Span:
    """Neighbouring rows of a pack whose attention is computed together.

    gather: [rows, longest] token positions, pads pointing at a row's first token; scatter: where
    the real tokens lie in the flattened [rows * longest]; mask: [rows, 1, 1, longest], true where
    real. All None when the rows are equally long.
    """

    start: int
    stop: int
    rows: int
    gather: Tensor | None
    scatter: Tensor | None
    mask: Tensor | None

    def unpack(self, packed: Tensor) -> Tensor:
        """[1, heads, tokens, d] of a pack to [rows, heads, longest, d] of this span."""
        if self.gather is None:
            span = packed[0, :, self.start : self.stop]
            return span.unflatten(1, (self.rows, -1)).transpose(0, 1)
        return packed[0][:, self.gather].transpose(0, 1)

    def repack(self, unpacked: Tensor) -> Tensor:
        """[rows, heads, longest, d] to the span's real tokens, [tokens, heads, d]."""
        flat = unpacked.transpose(1, 2).flatten(0, 1)
        return flat if self.scatter is None else flat[self.scatter]


@dataclass(frozen=True)
class Pack:
    """Some rows as one sequence: model inputs [1, tokens], spans, and each row's first token."""

    inputs: dict[str, Tensor]
    spans: tuple[Span, ...]
    firsts: Tensor


def can_pack(model: PreTrainedModel) -> bool:
    """Whether the family is one that this module knows and its attention is replaceable."""
    config = model.config
    return (
        config.model_type in _FAMILIES
        and not getattr(config, "is_decoder", False)
        and config._attn_implementation in ("sdpa", _NAME)
    )


def pack_rows(
    rows: EncodedRows, members: np.ndarray, *, offset: int, overhead: int, device: torch.device
) -> tuple[Pack, np.ndarray]:
    """The pack of some rows, and the order in which it holds them: positions in `members`.

    offset: the position number of a row's first token; overhead: see `length_groups`.
    """
    lengths = rows.lengths[members]
    groups = length_groups(lengths, len(members), overhead=overhead)
    order = np.concatenate(groups)
    chosen = members[order]
    ends = np.cumsum(lengths[order])
    firsts = ends - lengths[order]
    inputs = {
        "input_ids": np.concatenate([rows.ids[row] for row in chosen]),
        "position_ids": np.concatenate([np.arange(n) + offset for n in lengths[order]]),
    }
    if rows.type_ids is not None:
        inputs["token_type_ids"] = np.concatenate([rows.type_ids[row] for row in chosen])
    edges = np.cumsum([0, *map(len, groups)])
    spans = tuple(_span(firsts[a:b], ends[a:b], device) for a, b in pairwise(edges))
    tensors = {
        name: torch.from_numpy(array.astype(np.int64)).unsqueeze(0).to(device)
        for name, array in inputs.items()
    }
    return Pack(tensors, spans, torch.from_numpy(firsts).to(device)), order


@contextmanager
def packed_attention(model: PreTrainedModel) -> Iterator[None]:
    """Inside the block `packed_logits` may be called; the model's attention comes back after."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(_NAME, _attention)
    AttentionMaskInterface.register(_NAME, _no_mask)
    before = model.config._attn_implementation
    model.set_attn_implementation(_NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def packed_logits(model: PreTrainedModel, pack: Pack) -> Tensor:
    """Logits of the pack's rows, [rows, classes], in its own order."""
    encoder = model.base_model.encoder
    hooks = [
        encoder.layer[-1].attention.output.register_forward_pre_hook(_keep_firsts(pack.firsts)),
        encoder.register_forward_hook(_one_row_a_token),
    ]
    try:
        return model(**pack.inputs, packing=pack.spans).logits
    finally:
        for hook in hooks:
            hook.remove()


def position_offset(model: PreTrainedModel) -> int:
    """The position number of a first token: RoBERTa counts from behind its padding index."""
    padding = model.base_model.embeddings.position_embeddings.padding_idx
    return 0 if padding is None else int(padding) + 1


def _span(firsts: np.ndarray, ends: np.ndarray, device: torch.device) -> Span:
    lengths = ends - firsts
    longest = int(lengths.max())
    start, stop, rows = int(firsts[0]), int(ends[-1]), len(firsts)
    if (lengths == longest).all():
        return Span(start, stop, rows, None, None, None)
    steps = np.arange(longest)
    real = steps < lengths[:, None]
    gather = firsts[:, None] + np.where(real, steps, 0)
    tensors = (gather, np.flatnonzero(real), real[:, None, None, :])
    return Span(start, stop, rows, *(torch.from_numpy(array).to(device) for array in tensors))


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    packing: tuple[Span, ...],
    dropout: float = 0.0,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """[1, heads, tokens, d] each; returns [1, tokens, heads, d]."""
    del module, attention_mask
    parts = [
        span.repack(
            functional.scaled_dot_product_attention(
                span.unpack(query),
                span.unpack(key),
                span.unpack(value),
                attn_mask=span.mask,
                dropout_p=dropout,
                scale=scaling,
            )
        )
        for span in packing
    ]
    return torch.cat(parts).unsqueeze(0), None


def _no_mask(*_: Any, **__: Any) -> None:
    return None


def _keep_firsts(firsts: Tensor) -> Any:
    def hook(_: nn.Module, inputs: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        attended, residual = inputs
        return attended[:, firsts], residual[:, firsts]

    return hook


def _one_row_a_token(_: nn.Module, __: Any, output: Any) -> Any:
    output.last_hidden_state = output.last_hidden_state.transpose(0, 1)
    return output
