"""The base of geometric coresets: embeds the candidates, chooses, measures the cover."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from harness.context import StageContext
from harness.kit.embedding import TFIDF, Embedding, embed_rows
from harness.kit.selection.herding import Track
from harness.kit.selection.kmeans import nearest
from harness_coreset.coreset import Candidates, Choice, Coreset


@dataclass(frozen=True)
class Points:
    """One group's embeddings.

    values: [m, d]; labels: [m]; generator: for what the method draws; track: for long loops.
    """

    values: Tensor
    labels: Tensor
    generator: torch.Generator
    track: Track


@dataclass(frozen=True)
class EmbeddedCoreset(Coreset):
    """A coreset on embeddings of an untrained proxy, or on TF-IDF without a model.

    embedding: `proxy` or `tfidf`.
    pooling: how the proxy's last layer becomes one vector. `mean` is the default: it is what
    sentence encoders such as MiniLM are trained with, and on a raw BERT it keeps more of the
    meaning than the classification token (Reimers and Gurevych 2019, table 1). `cls` is what
    DiLM's baselines use.
    """

    embedding: Embedding = "proxy"
    pooling: Literal["cls", "mean"] = "mean"

    def choose(self, candidates: Candidates, context: StageContext) -> Choice:
        """Runs the method in each group; reports how well the chosen rows cover the others."""
        encoder = TFIDF if self.embedding == "tfidf" else self.proxy
        vectors = embed_rows(
            candidates.task, "train", encoder, self.pooling, context, rows=candidates.rows
        )
        values = torch.from_numpy(vectors).to(context.device)
        labels = torch.from_numpy(candidates.labels).to(context.device)
        chosen, covers = [], []
        for group in candidates.groups:
            members = torch.from_numpy(group.members).to(context.device)
            points = Points(
                values=values[members],
                labels=labels[members],
                generator=context.torch_generator("coreset", group.name),
                track=_tracker(context, group.name),
            )
            selected = self.select(points, group.quota)
            chosen.append(group.members[selected.cpu().numpy()])
            covers.append(measure_cover(points.values, selected))
        return Choice(np.concatenate(chosen), _report(covers))

    @abstractmethod
    def select(self, points: Points, quota: int) -> Tensor:
        """`quota` different indices into the points."""


@dataclass(frozen=True)
class Cover:
    """How the chosen points of a group stand for all of them.

    rows: points in the group; radius: largest distance to the nearest chosen point (k-center's
    objective); squared: mean squared distance to it (k-means'); gap: distance between the means
    of the chosen and of all points (herding's).
    """

    rows: int
    radius: float
    squared: float
    gap: float


def measure_cover(points: Tensor, chosen: Tensor) -> Cover:
    """The cover of points [n, d] by those at the indices `chosen`."""
    centred = points - points.mean(0)
    _, owners = nearest(centred, centred[chosen])
    squared = (centred - centred[chosen][owners]).square().sum(1)
    return Cover(
        rows=len(points),
        radius=float(squared.max().sqrt()),
        squared=float(squared.mean()),
        gap=float(centred[chosen].mean(0).norm()),
    )


def _report(covers: list[Cover]) -> dict[str, float]:
    """The largest radius, and means over the rows of all groups."""
    rows = [cover.rows for cover in covers]
    return {
        "coverage_radius": max(cover.radius for cover in covers),
        "mean_squared_distance": float(np.average([c.squared for c in covers], weights=rows)),
        "mean_gap": float(np.average([c.gap for c in covers], weights=rows)),
    }


def _tracker(context: StageContext, name: str) -> Track:
    return lambda steps: context.track(steps, f"choosing rows of class {name}")
