"""MobileCLIP's objective: several captions, and teachers' embeddings of the same views."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from harness.kit.clip.contrastive.mimicking import reinforced_loss
from harness.kit.clip.image_augmentation import Augmentation
from harness.kit.clip.model import ClipModel
from harness.kit.clip.training import ClipBatch, encode_batch
from harness_clip_distill.captions import shortened_captions
from harness_clip_distill.reinforcement import Reinforcement


class ReinforcedObjective:
    """The sum over captions of contrastive loss and soft cross-entropy with the teachers'.

    Batches come augmented. The first caption is the row's own, and beside it stands one of its
    shortenings, which take turns from visit to visit.
    """

    def __init__(
        self,
        model: ClipModel,
        captions: Sequence[str],
        teachers: Sequence[Reinforcement],
        augmentation: Augmentation | None,
        *,
        contrastive: float,
        distillation: float,
    ) -> None:
        """augmentation: of the batches; each of its count has its embeddings in `teachers`."""
        self._teachers = teachers
        self._augmentation = augmentation
        self._contrastive, self._distillation = contrastive, distillation
        self._tokens = torch.stack(
            [
                torch.from_numpy(model.tokenizer.encode(shortened_captions(captions, number)))
                for number in range(len(teachers[0].texts))
            ]
        )

    def parameters(self) -> Iterable[nn.Parameter]:
        return ()

    def loss(self, model: ClipModel, batch: ClipBatch, step: int, steps: int) -> Tensor:
        """Rows count alike."""
        del step, steps
        rows, numbers = torch.from_numpy(batch.rows), self._captions_of(batch)
        tokens = torch.cat([self._tokens[number, rows] for number in numbers])
        made = encode_batch(model, replace(batch, tokens=tokens.to(batch.tokens.device)))
        students = [replace(made, text=text) for text in made.text.split(len(batch))]
        device = made.image.device
        places, views = rows.to(device), self._augmentations_of(batch).to(device)
        taught = [
            [teacher.features(places, views, number.to(device)) for teacher in self._teachers]
            for number in numbers
        ]
        return reinforced_loss(
            students, taught, contrastive=self._contrastive, distillation=self._distillation
        )

    def after_step(self, model: ClipModel, step: int) -> None:
        del model, step

    def _augmentations_of(self, batch: ClipBatch) -> Tensor:
        """[b] numbers of what was done to the images."""
        if self._augmentation is None:
            return torch.zeros(len(batch), dtype=torch.int64)
        return torch.from_numpy(self._augmentation.numbers(batch.visits))

    def _captions_of(self, batch: ClipBatch) -> list[Tensor]:
        """Numbers [b] of the captions that stand beside one another: own, and a shortening."""
        own = torch.zeros(len(batch), dtype=torch.int64)
        others = len(self._tokens) - 1
        return [own, torch.from_numpy(1 + batch.visits % others)] if others else [own]
