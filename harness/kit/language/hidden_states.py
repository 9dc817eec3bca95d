"""Embeddings of rows pooled from a causal language model's last hidden states, in one pass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from harness.context import StageContext
from harness.kit.language.causal_lm import CausalLM
from harness.kit.language.forward import GROUP_ROWS
from harness.kit.modes import evaluating
from harness.kit.training.batching import EncodedRows, group_overhead, length_groups, token_limit


@dataclass(frozen=True)
class PooledStates:
    """The last layer's hidden states h_1 .. h_L of each row as one vector, [n, d] float32 each.

    last: h_L. mean: their mean. weighted: sum_i i h_i / sum_i i, the position-weighted mean
    (Muennighoff 2022, arXiv 2202.08904): under causal attention a late token has seen most.
    """

    last: np.ndarray
    mean: np.ndarray
    weighted: np.ndarray


def pool_states(
    lm: CausalLM, rows: EncodedRows, context: StageContext | None = None
) -> PooledStates:
    """The pooled states of tokenised rows, in their order; dropout is off.

    The last layer is what enters the vocabulary's matrix, after the final norm. Rows are padded
    on the right, where no token of a row looks, and padding is never pooled. A row whose states
    are not finite gives a vector that is not.
    """
    groups = length_groups(
        rows.lengths,
        GROUP_ROWS,
        overhead=group_overhead(lm.device),
        max_tokens=token_limit(lm.device),
    )
    shown = groups if context is None else context.track(groups, "embedding", total=len(groups))
    parts = []
    with evaluating(lm.model):
        for group in shown:
            ids = rows.pad(group, lm.pad_id, lm.device)["input_ids"]
            hidden = lm.model.base_model(input_ids=ids, use_cache=False).last_hidden_state
            parts.append(_pooled(hidden.float(), rows.lengths[group]).cpu().numpy())
    place = np.argsort(np.concatenate(groups))
    last, mean, weighted = np.concatenate(parts, axis=1)[:, place]
    return PooledStates(last, mean, weighted)


def _pooled(hidden: Tensor, lengths: np.ndarray) -> Tensor:
    """[3, b, d]: last, mean and weighted of hidden states [b, longest, d]."""
    counts = torch.from_numpy(lengths).to(hidden.device)
    positions = torch.arange(1, hidden.shape[1] + 1, device=hidden.device, dtype=hidden.dtype)
    real = positions <= counts.unsqueeze(1)
    hidden = hidden.masked_fill(~real.unsqueeze(2), 0.0)
    weights = torch.stack([real.to(hidden.dtype), real * positions])
    weights = weights / weights.sum(2, keepdim=True)
    averages = torch.einsum("wbl,bld->wbd", weights, hidden)
    last = hidden[torch.arange(len(hidden), device=hidden.device), counts - 1]
    return torch.cat([last.unsqueeze(0), averages])
