"""Weights of CLIP-KD's terms."""

from __future__ import annotations

from dataclasses import dataclass, fields

from harness.errors import UsageError
from harness.options import ShareBelowOne, Weight


@dataclass(frozen=True)
class KdWeights:
    """Weights of the terms of CLIP-KD (Yang et al. 2024, arXiv 2307.12732); 0 turns one off.

    task: the contrastive loss; ckd: relations over the batch; icl: interaction of the models;
    fd: distance of embeddings; mfd: the same from partly hidden images; gd: distance of
    gradients; afd: contrast of fused embeddings.
    hidden: share of the patches that `mfd` hides.

    The full method is task, ckd, icl and fd, with the published weights; those of mfd and gd,
    were they on, are 2000 and 1e8.
    """

    task: Weight = 1.0
    ckd: Weight = 1.0
    icl: Weight = 1.0
    fd: Weight = 2000.0
    mfd: Weight = 0.0
    gd: Weight = 0.0
    afd: Weight = 0.0
    hidden: ShareBelowOne = 0.75

    def __post_init__(self) -> None:
        weights = {f.name: getattr(self, f.name) for f in fields(KdWeights)}
        del weights["hidden"]
        if not any(weights.values()):
            raise UsageError("clip-kd: every term is off, so there is nothing to learn from")
