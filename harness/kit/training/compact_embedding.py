"""Training of the embedding rows that occur, exactly as dense AdamW trains the whole matrix.

A row whose token never occurs has zero gradient in every step, so AdamW (Loshchilov and Hutter
2019, algorithm 2) only multiplies it by `1 - lr_t * weight_decay`. The product of those factors
is applied once, when the dense matrix is needed again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

MOST_USED_SHARE = 0.5


class CompactEmbedding(nn.Module):
    """Stands in for `dense` with a weight of only the `used` rows; takes the same ids."""

    def __init__(self, dense: nn.Embedding, used: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(dense.weight.detach()[used])
        positions = torch.zeros(dense.num_embeddings, dtype=torch.int64, device=used.device)
        positions[used] = torch.arange(len(used), device=used.device)
        self.register_buffer("positions", positions)
        self.padding_idx = None if dense.padding_idx is None else int(positions[dense.padding_idx])

    def forward(self, ids: Tensor) -> Tensor:
        return functional.embedding(self.positions[ids], self.weight, self.padding_idx)


class EmbeddingSwap:
    """Replaces a model's input embedding by a compact one and writes it back."""

    def __init__(self, model: nn.Module, dense: nn.Embedding, used: Tensor) -> None:
        self._dense = dense
        self._used = used
        self._compact = CompactEmbedding(dense, used)
        self._places = [
            (parent, name)
            for parent in model.modules()
            for name, child in parent.named_children()
            if child is dense
        ]
        self._pending_decay = 1.0

    @contextmanager
    def compact(self) -> Iterator[None]:
        """The compact embedding is in place inside the block, the dense one after it."""
        self._place(self._compact)
        try:
            yield
        finally:
            self._write_back()
            self._place(self._dense)

    @contextmanager
    def dense(self) -> Iterator[None]:
        """The up-to-date dense embedding is in place inside the block, to use unseen tokens."""
        self._write_back()
        self._place(self._dense)
        try:
            yield
        finally:
            self._place(self._compact)

    def decay(self, factor: float) -> None:
        """Notes that one optimiser step multiplied every unused row by `factor`."""
        self._pending_decay *= factor

    def _place(self, module: nn.Module) -> None:
        for parent, name in self._places:
            setattr(parent, name, module)

    @torch.no_grad()
    def _write_back(self) -> None:
        self._dense.weight.mul_(self._pending_decay)
        self._dense.weight[self._used] = self._compact.weight
        self._pending_decay = 1.0


def compactable(model: nn.Module, rows: Iterable[np.ndarray], pad_id: int) -> EmbeddingSwap | None:
    """A swap for the tokens of `rows`, where it is exact and worthwhile; otherwise None.

    It is exact for a trained, plain `nn.Embedding` whose weight nothing else shares, and
    worthwhile when at most half of its rows occur.
    """
    dense = model.get_input_embeddings()
    if type(dense) is not nn.Embedding or not dense.weight.requires_grad:
        return None
    if dense.max_norm is not None or dense.scale_grad_by_freq or dense.sparse:
        return None
    owners = [module for module in model.modules() if _owns(module, dense.weight)]
    if owners != [dense]:
        return None
    kept = {pad_id} if dense.padding_idx is None else {pad_id, dense.padding_idx}
    used = np.unique(np.concatenate([*rows, np.array(sorted(kept))]))
    if len(used) > MOST_USED_SHARE * dense.num_embeddings:
        return None
    return EmbeddingSwap(model, dense, torch.from_numpy(used).long().to(dense.weight.device))


def _owns(module: nn.Module, weight: nn.Parameter) -> bool:
    return any(parameter is weight for parameter in module.parameters(recurse=False))
