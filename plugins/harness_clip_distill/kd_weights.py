"""Weights of CLIP-KD's terms."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from harness.errors import UsageError


@dataclass(frozen=True)
class KdWeights:
    """Of the terms of CLIP-KD (Yang et al. 2024, arXiv 2307.12732); 0 turns one off.

    task: the contrastive loss; ckd: relations over the batch; icl: interaction of the models;
    fd: distance of embeddings; mfd: the same from partly hidden images; gd: distance of
    gradients; afd: contrast of fused embeddings.
    hidden: share of the patches that `mfd` hides.

    The full method is task, ckd, icl and fd, with the published weights; those of mfd and gd,
    were they on, are 2000 and 1e8.
    """

    task: float = 1.0
    ckd: float = 1.0
    icl: float = 1.0
    fd: float = 2000.0
    mfd: float = 0.0
    gd: float = 0.0
    afd: float = 0.0
    hidden: float = 0.75

    def __post_init__(self) -> None:
        weights = {f.name: getattr(self, f.name) for f in fields(KdWeights)}
        for name, value in weights.items():
            if not 0 <= value < math.inf:
                raise UsageError(f"clip-kd: {name} = {value:g} should be 0 or more")
        if self.hidden >= 1:
            raise UsageError(f"clip-kd: hidden = {self.hidden:g} leaves nothing of an image")
        del weights["hidden"]
        if not any(weights.values()):
            raise UsageError("clip-kd: every term is off, so there is nothing to learn from")
