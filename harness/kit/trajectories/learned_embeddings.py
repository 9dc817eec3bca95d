"""Learned embeddings in place of tokens: ids beyond the vocabulary name them.

So a model trains on embeddings that are no token's by every loop that trains on ids.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from harness.errors import UsageError


class LearnedEmbeddings(nn.Module):
    """Stands in for `dense`; id num_embeddings + i has vector i of [k, d], which is not trained."""

    def __init__(self, dense: nn.Embedding, vectors: Tensor) -> None:
        super().__init__()
        self.dense = dense
        self.register_buffer("vectors", vectors.to(dense.weight), persistent=False)

    @property
    def weight(self) -> Tensor:
        """Of the vocabulary."""
        return self.dense.weight

    def forward(self, ids: Tensor) -> Tensor:
        beyond = ids - self.dense.num_embeddings
        learned = self.vectors[beyond.clamp(min=0)]
        known = self.dense(ids.clamp(max=self.dense.num_embeddings - 1))
        return torch.where((beyond >= 0).unsqueeze(-1), learned, known)


@contextmanager
def learned_embeddings(model: nn.Module, vectors: Tensor) -> Iterator[None]:
    """Inside the block the model's ids beyond its vocabulary are `vectors`, [k, d].

    Raises:
        UsageError: they have another width than the model's tokens.
    """
    dense = model.get_input_embeddings()
    if vectors.shape[1] != dense.embedding_dim:
        raise UsageError(
            f"learned vectors of width {vectors.shape[1]} cannot stand for tokens of width"
            f" {dense.embedding_dim}"
        )
    model.set_input_embeddings(LearnedEmbeddings(dense, vectors))
    try:
        yield
    finally:
        model.set_input_embeddings(dense)


def numbered(
    rows: Sequence[np.ndarray], learned: Sequence[np.ndarray], vocabulary: int
) -> tuple[np.ndarray, ...]:
    """Rows of ids whose marked places name one vector after another, from `vocabulary` on."""
    first, made = vocabulary, []
    for ids, mask in zip(rows, learned, strict=True):
        row = ids.astype(np.int64)
        row[mask] = first + np.arange(int(mask.sum()))
        first += int(mask.sum())
        made.append(row)
    return tuple(made)


def vocabulary_digest(table: Tensor) -> np.ndarray:
    """[32] uint8, the SHA-256 of a model's input embeddings: whose vectors learned ones are."""
    values = np.ascontiguousarray(table.detach().float().cpu().numpy())
    return np.frombuffer(hashlib.sha256(values.data).digest(), dtype=np.uint8).copy()
