"""Real batches for matching: coresets or random rows (DiLM, section 3.3)."""

from __future__ import annotations

import numpy as np
import torch

from harness.context import StageContext
from harness.kit.selection.kmeans import kmeans, nearest_to_centroids

Teacher = tuple[np.ndarray, ...]
"""Row indices of one real batch, by class."""


def class_pool(labels: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """About `size` row indices, sorted, each class in proportion and with one row or more.

    `size` 0, or no less than there are rows, takes all.
    """
    if size == 0 or size >= len(labels):
        return np.arange(len(labels))
    chosen = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        share = max(1, round(size * len(members) / len(labels)))
        chosen.append(rng.choice(members, share, replace=False))
    return np.sort(np.concatenate(chosen))


def representative_teachers(
    embeddings: np.ndarray,
    labels: np.ndarray,
    classes: int,
    rows: int,
    count: int,
    context: StageContext,
) -> tuple[Teacher, ...]:
    """`count` coresets of `rows` rows of each class, each from k-means of its own start.

    A coreset holds, for each centroid, the row nearest to it. A class with no more than `rows`
    rows is taken whole.

    Args:
        embeddings: [n, d]; labels: [n], every class at least once.
    """
    points = torch.from_numpy(embeddings)
    members = [np.flatnonzero(labels == label) for label in range(classes)]
    jobs = [(number, label) for number in range(count) for label in range(classes)]
    chosen: dict[tuple[int, int], np.ndarray] = {}
    for number, label in context.track(jobs, "choosing teachers"):
        own = members[label]
        if len(own) > rows:
            inside = points[torch.from_numpy(own)]
            generator = context.torch_generator("teacher", number, label)
            centroids = kmeans(inside, rows, generator).centroids
            own = own[nearest_to_centroids(inside, centroids).numpy()]
        chosen[number, label] = own
    return tuple(tuple(chosen[n, label] for label in range(classes)) for n in range(count))


def random_teacher(
    labels: np.ndarray, classes: int, rows: int, rng: np.random.Generator
) -> Teacher:
    """At most `rows` random rows of each class."""
    members = [np.flatnonzero(labels == label) for label in range(classes)]
    return tuple(rng.choice(own, min(rows, len(own)), replace=False) for own in members)
