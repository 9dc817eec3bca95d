"""A batch's embeddings gathered from all processes, with gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed


def gather_rows(rows: Tensor) -> Tensor:
    """The rows of all processes, [processes * b, d], in the order of ranks; alone, the rows.

    Every process computes the whole batch's loss from them. The gradient that reaches a
    process's own rows is the sum of what all processes send, so parameters whose gradients are
    *averaged* over processes, as DistributedDataParallel does, get the gradient of one process
    with the whole batch. All processes must have the same number of rows.
    """
    if not distributed.is_initialized() or distributed.get_world_size() == 1:
        return rows
    return _GatheredRows.apply(rows)


class _GatheredRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.own = len(rows)
        parts = [torch.empty_like(rows) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        start = distributed.get_rank() * ctx.own
        return total[start : start + ctx.own]
