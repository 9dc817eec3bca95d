"""Teachers' embeddings of augmented views and captions, computed once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from harness.context import Arrays, StageContext
from harness.kit.clip.contrastive.features import ClipFeatures
from harness.kit.clip.image_augmentation import Augmentation
from harness.kit.clip.teacher import (
    TeacherTraining,
    teacher_embeddings,
    teacher_inputs,
    trained_teacher,
)
from harness.types import CAPTION_COLUMN, TaskData
from harness_clip_distill.captions import VERSION, shortened_captions


@dataclass(frozen=True)
class Reinforcement:
    """One teacher's embeddings, on the training device.

    images: [augmentations, n, d]; texts: [captions, n, d]; scale: a scalar.
    """

    images: Tensor
    texts: Tensor
    scale: Tensor

    def features(self, rows: Tensor, augmentations: Tensor, captions: Tensor) -> ClipFeatures:
        """Of rows [b] with the numbers [b] of their augmentations and captions."""
        return ClipFeatures(
            self.images[augmentations, rows], self.texts[captions, rows], self.scale, None
        )


def reinforcement(
    spec: str,
    task: TaskData,
    training: TeacherTraining,
    augmentation: Augmentation | None,
    captions: int,
    scale: float,
    context: StageContext,
) -> Reinforcement:
    """Embeddings by the teacher `spec`, shared by all stages that ask for the same.

    Args:
        augmentation: of images, with a count; images as they are when None.
        captions: of each row, its own included.
        scale: of the teacher's cosines; its own if 0.
    """
    found = teacher_embeddings(spec, task, training, context, augmentation=augmentation)
    texts = found.text[None]
    if captions > 1:
        inputs = {
            **teacher_inputs(spec, task, training, context),
            "captions": captions,
            "definition": VERSION,
        }

        def embed() -> Arrays:
            teacher = trained_teacher(spec, task, training, context)
            own = task.train[CAPTION_COLUMN][:]
            return {
                "texts": np.stack(
                    [
                        teacher.encode_text(shortened_captions(own, number), context)
                        for number in range(captions)
                    ]
                )
            }

        texts = context.cache.arrays("clip-teacher-captions", inputs, embed)["texts"]
    device = torch.device(context.device)
    return Reinforcement(
        torch.from_numpy(found.image).to(device),
        torch.from_numpy(texts).to(device),
        torch.tensor(scale or found.scale, device=device),
    )
