"""Influence scores from stored features, so that later targets need no gradients of the pool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from harness.fingerprint import digest
from harness.kit.gradients.feature_manifest import FeatureManifest
from harness.kit.gradients.feature_store import FeatureStore
from harness.kit.gradients.influence import influence_scores
from harness.kit.gradients.projection.kinds import new_projector
from harness.kit.gradients.projection.projector import Projector
from harness.randomness import derive_seed
from harness_less.features import FlawDetector, TrainingFeatures
from harness_less.flaws import FINE, NOT_FINITE, ZERO
from harness_less.scores import RowScores, ScoringInputs
from harness_less.target_gradients import TargetGradients

PROJECTION_SEED = derive_seed("less projection")
"""One matrix for all seeds, checkpoints, training and target rows."""


def stored_scores(work: ScoringInputs, inputs: Mapping[str, Any]) -> RowScores:
    """Scores by `influence_scores` from features of the pool that all targets share.

    Args:
        inputs: everything that the checkpoints depend on, to name the shared features by.
    """
    train, target = [], []
    flaws = np.full(len(work.pool), FINE, dtype=np.uint8)
    for number in range(len(work.checkpoints)):
        moment = StoredMoment(work, number)
        shared = {
            **inputs,
            "manifest": moment.manifest(len(work.pool), work.pool.digest).__dict__,
        }
        found = work.context.cache.arrays("less-features", shared, moment.pool_features)
        train.append(found["features"])
        flaws = np.where(flaws == FINE, found["flaws"], flaws)
        target.append(moment.target_features())
    scores = influence_scores(
        train,
        target,
        work.target.subtasks,
        list(work.weights),
        aggregation=work.options.aggregation,
        reduction=work.options.subtasks,
    )
    return RowScores(scores, flaws)


@dataclass(frozen=True)
class StoredMoment:
    """Features at one checkpoint: of the pool on disk, of the target in memory."""

    work: ScoringInputs
    number: int

    @property
    def projector(self) -> Projector:
        options, size = self.work.options, self.work.source.layout.size
        return new_projector(options.projection, size, options.dimensions, PROJECTION_SEED)

    def manifest(self, rows: int, data: str) -> FeatureManifest:
        """What features of some rows depend on."""
        work = self.work
        tokenizer = work.source.lm.tokenizer
        template = [work.source.lm.chat, str(tokenizer.chat_template), work.options.max_length]
        return FeatureManifest(
            model=work.source.lm.info.source,
            template=digest(template),
            checkpoint=work.checkpoints[self.number].digest,
            layout=work.source.layout.digest,
            data=data,
            feature=work.options.features + (" centred" if work.options.centred else ""),
            projector=self.projector.manifest(),
            rows=rows,
            dtype=work.options.store_dtype,
        )

    def pool_features(self) -> dict[str, np.ndarray]:
        """features [m, k], stored rows without their scale, and flaws [m]; resumes a store."""
        work = self.work
        manifest = self.manifest(len(work.pool), work.pool.digest)
        store = FeatureStore.open(work.folder / f"features-{self.number}", manifest)
        missing = set(store.missing.tolist())
        groups = [g for g in work.source.groups(work.pool.encoded) if int(g[0]) in missing]
        if groups:
            features, projector = work.training(self.number), self.projector
            label = f"features at checkpoint {self.number + 1} of {len(work.checkpoints)}"
            for members in work.context.track(groups, label, total=len(groups)):
                store.write(members, self._projected(features, projector, members))
        flaws = np.full(len(work.pool), FINE, dtype=np.uint8)
        flaws[store.zero] = ZERO
        flaws[store.not_finite] = NOT_FINITE
        return {"features": np.asarray(store.features), "flaws": flaws}

    def target_features(self) -> np.ndarray:
        """[target rows, k], zero where a row does not count."""
        work = self.work
        work.checkpoints[self.number].put_weights(work.source.lm.model, work.source.layout)
        found = TargetGradients(work.source, work.target).projected(self.projector)
        return np.where(work.usable[:, None], found, 0.0)

    def _projected(
        self, features: TrainingFeatures, projector: Projector, members: np.ndarray
    ) -> np.ndarray:
        """[b, k]; a row whose gradient is zero is zero, whatever Adam makes of it."""
        health = FlawDetector()
        blocks = features.blocks(self.work.pool.encoded, members, health)
        values = projector.project_blocks(blocks)
        empty = torch.from_numpy(health.flaws() == ZERO).to(values.device)
        return values.masked_fill(empty.unsqueeze(1), 0.0).float().cpu().numpy()
