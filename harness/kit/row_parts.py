"""A batch encoded part by part, so that the activations of one part are kept at a time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def in_parts(
    encode: Callable[..., tuple[Tensor, ...]], size: int, *inputs: Tensor
) -> tuple[Tensor, ...]:
    """`encode(*inputs)`, whose outputs have a row for each row of the inputs.

    With graph, a part's activations are computed again in the backward pass, as in GradCache (Gao
    et al. 2021, arXiv 2101.06983): the gradient is that of the whole batch.

    Args:
        size: rows of a part; 0 for all.
    """
    if size <= 0 or size >= len(inputs[0]) or not torch.is_grad_enabled():
        return encode(*inputs)
    pieces = zip(*(rows.split(size) for rows in inputs), strict=True)
    parts = [checkpoint(encode, *piece, use_reentrant=False) for piece in pieces]
    return tuple(torch.cat(pieces) for pieces in zip(*parts, strict=True))
