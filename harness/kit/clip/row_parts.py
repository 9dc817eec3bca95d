"""Micro-batches of a large contrastive batch: gradient caching, and equal captions encoded once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

Encode = Callable[..., tuple[Tensor, ...]]
"""Its outputs have a row for each row of its inputs."""


def in_parts(encode: Encode, size: int, *inputs: Tensor) -> tuple[Tensor, ...]:
    """`encode(*inputs)`, one part of the rows at a time.

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


def each_once(encode: Encode, rows: Tensor) -> tuple[Tensor, ...]:
    """`encode(rows)` for an encoder that treats rows alike, with equal rows encoded once.

    A batch of captions made by templates has few that differ; the gradient is the same.
    """
    different, places = torch.unique(rows, dim=0, return_inverse=True)
    if len(different) == len(rows):
        return encode(rows)
    return tuple(made[places] for made in encode(different))
