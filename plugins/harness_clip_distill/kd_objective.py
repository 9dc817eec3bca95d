"""CLIP-KD's objective: six distillation terms beside the contrastive loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.context import StageContext
from harness.kit.clip.contrastive.embedding_losses import (
    augmented_contrast,
    feature_distance,
    gradient_distance,
    interactive_contrast,
)
from harness.kit.clip.contrastive.features import ClipFeatures
from harness.kit.clip.contrastive.hidden_patches import hide_patches
from harness.kit.clip.contrastive.mimicking import relational_divergence
from harness.kit.clip.contrastive.pair_losses import contrastive_loss
from harness.kit.clip.model import ClipModel
from harness.kit.clip.training import LARGEST_SCALE, ClipBatch, encode_batch
from harness.randomness import seeded
from harness_clip_distill.kd_weights import KdWeights
from harness_clip_distill.teaching import Teach

_FIRST_SCALE = math.log(1 / 0.07)


class KdObjective:
    """The weighted sum of the terms that are on; what is compared has the teacher's width.

    Where widths differ, the student's embeddings pass a linear map of each tower, and are unit
    vectors again. Maps and scales are trained along and never saved.
    """

    def __init__(
        self,
        weights: KdWeights,
        model: ClipModel,
        teacher_width: int,
        teach: Teach,
        context: StageContext,
    ) -> None:
        self._weights = weights
        self._teach = teach
        self._generator = context.torch_generator("hidden patches")
        own = nn.ModuleDict()
        with seeded(context.seed_for("clip-kd maps")):
            if model.width != teacher_width:
                own["image"] = nn.Linear(model.width, teacher_width)
                own["text"] = nn.Linear(model.width, teacher_width)
            both = model.width + teacher_width
            if weights.afd:
                own["image fusion"] = nn.Linear(both, model.width)
                own["text fusion"] = nn.Linear(both, model.width)
        self._maps = own.to(model.device)
        self._scales = {
            name: nn.Parameter(torch.tensor(_FIRST_SCALE, device=model.device))
            for name in ("icl", "afd")
            if getattr(weights, name)
        }

    def parameters(self) -> Iterable[nn.Parameter]:
        return [*self._maps.parameters(), *self._scales.values()]

    def loss(self, model: ClipModel, batch: ClipBatch, step: int, steps: int) -> Tensor:
        """Rows count alike."""
        del step, steps
        student, teacher = encode_batch(model, self._shown(model, batch)), self._teach(batch)
        terms = self._terms(student, teacher, len(batch))
        on = {name: getattr(self._weights, name) for name in terms if getattr(self._weights, name)}
        return torch.stack([weight * terms[name]() for name, weight in on.items()]).sum()

    def after_step(self, model: ClipModel, step: int) -> None:
        """Keeps its scales where the model's own is kept."""
        del model, step
        with torch.no_grad():
            for scale in self._scales.values():
                scale.clamp_(0, LARGEST_SCALE)

    def _terms(
        self, both: ClipFeatures, teacher: ClipFeatures, rows: int
    ) -> dict[str, Callable[[], Tensor]]:
        """both: of whole images, followed by those of partly hidden ones if `mfd` is on."""
        student = replace(both, image=both.image[:rows])
        wide = self._widened(student)
        return {
            "task": lambda: contrastive_loss(student),
            "ckd": lambda: relational_divergence(student, teacher),
            "icl": lambda: interactive_contrast(wide, teacher, self._scales["icl"].exp()),
            "fd": lambda: feature_distance(wide, teacher),
            "mfd": lambda: feature_distance(
                self._widened(replace(both, image=both.image[rows:])), teacher
            ),
            "gd": lambda: gradient_distance(wide, teacher),
            "afd": lambda: augmented_contrast(
                student,
                teacher,
                self._maps["image fusion"],
                self._maps["text fusion"],
                self._scales["afd"].exp(),
            ),
        }

    def _shown(self, model: ClipModel, batch: ClipBatch) -> ClipBatch:
        """The batch, with partly hidden images behind the whole ones where a term needs them."""
        if not self._weights.mfd:
            return batch
        side = patch_side(model.config)
        partly = hide_patches(batch.images, side, self._weights.hidden, self._generator)
        return replace(batch, images=torch.cat([batch.images, partly]))

    def _widened(self, student: ClipFeatures) -> ClipFeatures:
        if "image" not in self._maps:
            return student
        image, text = self._maps["image"](student.image), self._maps["text"](student.text)
        return replace(
            student,
            image=functional.normalize(image, dim=1),
            text=functional.normalize(text, dim=1),
        )


def patch_side(config: Any) -> int:
    """Pixels of a patch's side: the tower's, or an eighth of the image where it has none."""
    vision = config["vision_cfg"]
    size = vision.get("image_size", 224)
    shorter = size if isinstance(size, int) else min(size)
    return int(vision.get("patch_size") or max(1, shorter // 8))
