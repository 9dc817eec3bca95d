"""Moderate coreset: rows at the median distance from their class's centre."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from harness.kit.selection.kmeans import check_points
from harness_coreset.geometry.embedded import EmbeddedCoreset, Points


@dataclass(frozen=True)
class Moderate(EmbeddedCoreset):
    """Neither typical nor extreme rows (Xia et al. 2023, section 3); the seed changes nothing.

    The paper embeds with a network trained on the whole set; here the proxy is untrained, as it
    is for the other coresets on embeddings.
    """

    def select(self, points: Points, quota: int) -> Tensor:
        return moderate(points.values, points.labels, quota)


def moderate(points: Tensor, labels: Tensor, k: int) -> Tensor:
    """Indices [k] of points [n, d], the nearest to the median first.

    Each point has its distance to the mean of the points of its label [n]; chosen are those
    whose distance differs least from the median of all, the lowest index among equals.

    Raises:
        UsageError: k is not in [1, n].
        HarnessError: a point is not finite.
    """
    check_points(points, k)
    distances = points.new_empty(len(points))
    for label in labels.unique():
        own = labels == label
        distances[own] = (points[own] - points[own].mean(0)).norm(dim=1)
    return (distances - distances.quantile(0.5)).abs().argsort(stable=True)[:k]
