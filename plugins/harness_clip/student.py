"""CLIP models as students: built, trained by the contrastive loss, read back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from harness.errors import UsageError
from harness.fingerprint import digest
from harness.options import Natural
from harness.types import CAPTION_COLUMN, DistilledData, Recipe, StudentInfo, TaskData
from harness_clip.configurations import ClipConfiguration, find_configuration
from harness_clip.pretrained import Pretrained

if TYPE_CHECKING:
    from harness.context import StageContext
    from harness.kit.clip.model import ClipModel
    from harness.kit.clip.tokens import ClipTokenizer


@dataclass(frozen=True)
class Clip:
    """CLIP (Radford et al. 2021) as open_clip builds it, by default from random weights.

    variant: `tiny`, `small` or `base32`, models of 32-pixel images for two cores; a configuration
    of open_clip, such as `vit-b-32`; or a JSON file of one. A text tower of 49,408 entries has the
    standard vocabulary; any other has at most so many of the task's own words, the most frequent
    of train's captions and of the classes' texts.
    pretrained: weights that open_clip knows by this tag, or a safetensors file; none when empty,
    and then nothing is fetched.
    training_rows: rows of a batch whose activations are kept at once, 0 for all; the gradient is
    the same.
    """

    variant: str = "tiny"
    pretrained: str = ""
    training_rows: Natural = 0

    offers: ClassVar[tuple[str, ...]] = ("encode_image", "encode_text")
    modalities: ClassVar[tuple[str, ...]] = ("image-text",)

    def __post_init__(self) -> None:
        configuration = self.configuration
        if self.pretrained and configuration.own_words:
            raise UsageError(
                f"student 'clip:{self.variant}' learns its words from the task, so there are no"
                " pretrained weights of it",
                hint="Take a configuration of open_clip, such as clip:vit-b-32.",
            )

    @cached_property
    def configuration(self) -> ClipConfiguration:
        """What the variant stands for."""
        return find_configuration(self.variant)

    def fingerprint(self) -> str:
        """The hash of the weights, or that of the configuration that random ones are drawn for."""
        if self.pretrained:
            return self._weights.fingerprint()
        return f"random {digest(dict(self.configuration.model))[:16]}"

    def build(self, task: TaskData, context: StageContext) -> ClipModel:
        """The model before any training; random weights are drawn from the context's seed.

        Raises:
            UsageError: the task has no images with captions, or open_clip cannot build the model.
        """
        import torch

        from harness.kit.clip.image_rows import ImageInput
        from harness.kit.clip.model import ClipModel, build_clip
        from harness.randomness import seeded

        if task.modality != "image-text":
            raise UsageError(
                f"student 'clip' is for images with captions, and '{task.name}' is of"
                f" {task.modality}"
            )
        tokenizer = self._tokenizer(task)
        config = self.configuration.with_vocabulary(tokenizer.vocabulary_size)
        with seeded(context.seed_for("weights")):
            model = build_clip(config)
        image = ImageInput(_image_size(config))
        if self.pretrained:
            self._weights.load_into(model)
            image = self._weights.image_input(image)
        info = StudentInfo(
            name="clip",
            variant=self.configuration.name,
            source=self.fingerprint(),
            parameters=0,
        )
        device = torch.device(context.device)
        return ClipModel(
            model, tokenizer, image, config, info, device, training_rows=self.training_rows
        )

    def fit(
        self, task: TaskData, data: DistilledData, recipe: Recipe, context: StageContext
    ) -> ClipModel:
        """A fresh model trained by the plain contrastive loss on the distilled rows.

        Soft labels are of no use to it, since its targets are captions; weights count.
        """
        from harness.kit.clip.image_rows import image_text_rows
        from harness.kit.clip.training import ContrastiveObjective, train_clip

        model = self.build(task, context)
        rows = image_text_rows(data.rows, model.image, context)
        weights = np.ones(len(rows)) if data.weights is None else data.weights
        validation = _validation(model, task, recipe) if recipe.checkpoint == "validation" else None
        train_clip(
            model, rows, weights, ContrastiveObjective(), recipe, context, validation=validation
        )
        return model

    def load(self, folder: Path, task: TaskData, context: StageContext) -> ClipModel:
        """Reads what `ClipModel.save` wrote."""
        from harness.kit.clip.model import ClipModel

        del task
        return ClipModel.load(folder, context.device)

    @property
    def _weights(self) -> Pretrained:
        return Pretrained(self.configuration, self.pretrained)

    def _tokenizer(self, task: TaskData) -> ClipTokenizer:
        from harness.kit.clip.tokens import StandardTokenizer, WordTokenizer, learn_words

        text = self.configuration.model["text_cfg"]
        length = int(text.get("context_length", 77))
        if not self.configuration.own_words:
            return StandardTokenizer(length)
        texts = [
            *task.train[CAPTION_COLUMN][:],
            *(text for own in task.class_texts for text in own),
        ]
        return WordTokenizer(learn_words(texts, int(text["vocab_size"])), length)


def _image_size(config: dict[str, Any]) -> tuple[int, int]:
    size = config["vision_cfg"].get("image_size", 224)
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def _validation(model: ClipModel, task: TaskData, recipe: Recipe) -> Callable[[], float]:
    """Minus the contrastive loss of validation, whose images are read once."""
    from harness.kit.clip.image_rows import image_text_rows
    from harness.kit.clip.training import mean_contrastive_loss

    rows = image_text_rows(task.validation, model.image)
    return lambda: -mean_contrastive_loss(model, rows, recipe.batch_size)
