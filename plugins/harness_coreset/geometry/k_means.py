"""k-means, and the row nearest to each centroid."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from harness.kit.selection.kmeans import kmeans, nearest_to_centroids
from harness.options import Count
from harness_coreset.geometry.embedded import EmbeddedCoreset, Points


@dataclass(frozen=True)
class KMeans(EmbeddedCoreset):
    """The rows nearest to the centroids of as many clusters as there are places.

    DiLM's paper (arXiv 2404.00264) calls this K-centers; `k-center` is another method.

    restarts: runs from new initial centroids, of which the one of least inertia is kept.
    iterations: most centroid updates in a run.
    """

    restarts: Count = 1
    iterations: Count = 100

    def select(self, points: Points, quota: int) -> Tensor:
        clusters = kmeans(
            points.values,
            quota,
            points.generator,
            restarts=self.restarts,
            iterations=self.iterations,
        )
        return nearest_to_centroids(points.values, clusters.centroids)
