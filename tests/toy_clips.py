"""Small CLIPs as students, for tests of what trains them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from harness.context import StageContext
from harness.kit.clip.image_rows import ImageInput, image_text_rows
from harness.kit.clip.model import ClipModel, build_clip
from harness.kit.clip.tokens import StandardTokenizer, WordTokenizer, learn_words
from harness.kit.clip.training import ClipBatch
from harness.randomness import seeded
from harness.types import DistilledData, Recipe, StudentInfo, TaskData


@dataclass(frozen=True)
class ToyClip:
    """A few thousand weights. `standard` takes the byte pairs of the first CLIP for words."""

    width: int = 16
    embedding: int = 8
    layers: int = 2
    size: int = 16
    context_length: int = 12
    standard: bool = False
    text: bool = True
    tower: str = "vit"

    def fingerprint(self) -> str:
        return "none"

    def build(self, task: TaskData, context: StageContext) -> ClipModel:
        tokenizer: Any = WordTokenizer(
            learn_words(task.train["caption"][:], 60), self.context_length
        )
        if self.standard:
            tokenizer = StandardTokenizer(self.context_length)
        vision: dict[str, Any] = {"image_size": self.size}
        if self.tower == "vit":
            vision |= {"layers": self.layers, "width": self.width, "patch_size": 4, "head_width": 8}
        else:
            vision |= {"timm_model_name": self.tower, "timm_pool": "avg", "timm_proj": "linear"}
        config = {
            "embed_dim": self.embedding,
            "vision_cfg": vision,
            "text_cfg": {
                "context_length": self.context_length,
                "vocab_size": tokenizer.vocabulary_size,
                "width": self.width,
                "heads": 2,
                "layers": self.layers,
            },
        }
        with seeded(context.seed_for("weights")):
            model = build_clip(config)
        size = sum(parameter.numel() for parameter in model.parameters())
        return ClipModel(
            model=model,
            tokenizer=tokenizer,
            image=ImageInput((self.size, self.size)),
            config=config,
            info=StudentInfo("toy-clip", "", "none", size),
            device=torch.device(context.device),
        )

    def fit(
        self, task: TaskData, data: DistilledData, recipe: Recipe, context: StageContext
    ) -> ClipModel:
        from harness.kit.clip.training import ContrastiveObjective, train_clip

        model = self.build(task, context)
        rows = image_text_rows(data.rows, model.image, context)
        train_clip(model, rows, np.ones(len(rows)), ContrastiveObjective(), recipe, context)
        return model

    def load(self, folder: Path, task: TaskData, context: StageContext) -> ClipModel:
        del task
        return ClipModel.load(folder, context.device)


def batch_of(model: ClipModel, task: TaskData, rows: int | Sequence[int] = 6) -> ClipBatch:
    """Some train rows, the first so many or those at positions, as `train_clip` gives them."""
    positions = np.arange(rows) if isinstance(rows, int) else np.asarray(rows)
    chosen = image_text_rows(task.train.select(positions), model.image)
    return ClipBatch(
        rows=positions,
        visits=np.zeros(len(positions), dtype=np.int64),
        images=model.pixels(chosen.images),
        tokens=model.tokens(chosen.captions),
        weights=torch.ones(len(positions)),
    )
