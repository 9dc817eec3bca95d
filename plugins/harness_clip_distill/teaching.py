"""A teacher during training: its stored embeddings, or a forward pass of every batch."""

from __future__ import annotations

from collections.abc import Callable

import torch

from harness.context import StageContext
from harness.kit.clip.contrastive.features import ClipFeatures
from harness.kit.clip.image_rows import ImageTextRows, image_text_rows
from harness.kit.clip.model import ClipModel
from harness.kit.clip.teacher import StoredTeacher, teacher_embeddings, trained_teacher
from harness.kit.clip.training import ClipBatch
from harness.types import TaskData
from harness_clip_distill.taught_options import TaughtOptions

Teach = Callable[[ClipBatch], ClipFeatures]
"""The teacher's features of a batch, without graph."""


def teaching(options: TaughtOptions, task: TaskData, context: StageContext) -> tuple[Teach, int]:
    """The teacher as a function of batches, and the width of its embeddings.

    Raises:
        UsageError: no teacher is named, or it is no CLIP.
        DivergenceError: its training left the finite numbers.
    """
    training = options.teacher_training()
    if options.embeddings == "live":
        model = trained_teacher(options.teacher, task, training, context)
        return LiveTeacher(model, image_text_rows(task.train, model.image, context)), model.width
    found = teacher_embeddings(options.teacher, task, training, context)
    stored = StoredTeacher.of(found, torch.device(context.device))
    return lambda batch: stored.features(batch.rows), stored.image.shape[1]


class LiveTeacher:
    """Embeds every batch again, from images of the teacher's size and its own tokens.

    The teacher is left in eval mode and without gradients, as `trained_teacher` gives it.
    """

    def __init__(self, model: ClipModel, rows: ImageTextRows) -> None:
        self._model = model
        self._images = rows.images
        self._tokens = torch.from_numpy(model.tokenizer.encode(rows.captions))

    @torch.no_grad()
    def __call__(self, batch: ClipBatch) -> ClipFeatures:
        model = self._model
        tokens = self._tokens[torch.from_numpy(batch.rows)].to(model.device)
        with batch.autocast():
            image = model.image_features(model.pixels(self._images[batch.rows]))
            text = model.text_features(tokens)
        return ClipFeatures(image, text, model.model.logit_scale.exp(), None)
