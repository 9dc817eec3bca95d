"""k-means, and the row nearest to each centroid."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from harness.errors import UsageError
from harness.kit.selection.kmeans import kmeans, nearest_to_centroids
from harness_coreset.geometry.embedded import EmbeddedCoreset, Points


@dataclass(frozen=True)
class KMeans(EmbeddedCoreset):
    """The rows nearest to the centroids of as many clusters as there are places.

    DiLM's paper (arXiv 2404.00264) calls this K-centers; `k-center` is another method.

    restarts: runs from new initial centroids, of which the one of least inertia is kept.
    iterations: most centroid updates in a run.
    """

    restarts: int = 1
    iterations: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.restarts < 1 or self.iterations < 1:
            raise UsageError("k-means needs at least one restart and one iteration")

    def select(self, points: Points, quota: int) -> Tensor:
        clusters = kmeans(
            points.values,
            quota,
            points.generator,
            restarts=self.restarts,
            iterations=self.iterations,
        )
        return nearest_to_centroids(points.values, clusters.centroids)
