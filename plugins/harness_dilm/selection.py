"""Selection among generated rows: k-means, herding, random, by likelihood (DiLM, section 3.5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch

from harness.kit.selection.herding import herding
from harness.kit.selection.kmeans import kmeans, nearest_to_centroids

T = TypeVar("T")


def first_of_each(texts: Sequence[T]) -> np.ndarray:
    """Positions of the first occurrence of every distinct text, in order."""
    seen: dict[T, int] = {}
    for position, text in enumerate(texts):
        seen.setdefault(text, position)
    return np.fromiter(seen.values(), dtype=np.int64, count=len(seen))


def by_kmeans(embeddings: np.ndarray, count: int, generator: torch.Generator) -> np.ndarray:
    """The distinct rows nearest to the centroids of `count` clusters: DiLM's "k-centers"."""
    points = torch.from_numpy(embeddings)
    return nearest_to_centroids(points, kmeans(points, count, generator).centroids).numpy()


def by_herding(embeddings: np.ndarray, count: int) -> np.ndarray:
    """Greedily, the row that brings the mean of those chosen closest to the mean of all."""
    return herding(torch.from_numpy(embeddings.astype(np.float64)), count).numpy()


def by_rank(losses: np.ndarray, count: int) -> np.ndarray:
    """The rows with the lowest losses."""
    return np.argsort(losses, kind="stable")[:count]
