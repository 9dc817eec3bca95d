"""Synthetic batches: one sample of each cluster, in turn (DiLM, section 3.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from harness.kit.selection.kmeans import kmeans


@dataclass(frozen=True)
class DiverseBatches:
    """Batches of one class's samples.

    clusters: positions of each cluster's samples, none empty. Batch i takes item i modulo the
    cluster's size from each, so it never runs dry; small clusters repeat.
    """

    clusters: tuple[np.ndarray, ...]

    def batch(self, number: int) -> np.ndarray:
        """One sample of each cluster."""
        return np.array([cluster[number % len(cluster)] for cluster in self.clusters])

    def used_share(self, batches: int) -> float:
        """The share of samples that occur in the first `batches` batches."""
        used = sum(min(batches, len(cluster)) for cluster in self.clusters)
        return used / sum(len(cluster) for cluster in self.clusters)


def clustered_batches(
    members: np.ndarray, embeddings: np.ndarray, size: int, generator: torch.Generator
) -> DiverseBatches:
    """Batches of `size` samples, one from each k-means cluster of the embeddings [n, d].

    Fewer distinct samples than `size` give smaller batches.
    """
    points = torch.from_numpy(embeddings)
    distinct = len(np.unique(embeddings, axis=0))
    assignments = kmeans(points, min(size, distinct), generator).assignments.numpy()
    clusters = (members[assignments == cluster] for cluster in range(size))
    return DiverseBatches(tuple(cluster for cluster in clusters if len(cluster)))


def shuffled_batches(members: np.ndarray, size: int, rng: np.random.Generator) -> DiverseBatches:
    """Batches of `size` samples dealt from a random order, as if clusters were random."""
    dealt: Sequence[np.ndarray] = np.array_split(rng.permutation(members), min(size, len(members)))
    return DiverseBatches(tuple(dealt))
