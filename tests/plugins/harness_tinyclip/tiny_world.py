"""Coloured squares, a teacher that knows a little of them, and smaller students."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from clip_models import tiny_clip
from harness.context import StageContext
from harness.kit.clip.image_rows import image_text_rows
from harness.kit.clip.model import ClipModel
from harness.kit.clip.student import train_on_task
from harness.kit.clip.teacher import StoredTeacher
from harness.kit.clip.training import ContrastiveObjective
from harness.testing.image_text import toy_image_text_task
from harness.types import DistilledData, Recipe, TaskData
from harness_tinyclip.options import TinyClipOptions
from harness_tinyclip.stages import ProgressiveTraining

TASK = toy_image_text_task(48)
RECIPE = Recipe(steps=8, batch_size=12, learning_rate=1e-3, warmup=0.1)


@dataclass(frozen=True)
class Squares:
    """A student for 16-pixel images whose heads are 8 wide."""

    width: int = 16
    layers: int = 2
    embedding: int = 8

    def fingerprint(self) -> str:
        return "drawn from the seed"

    def build(self, task: TaskData, context: StageContext) -> ClipModel:
        del task
        return tiny_clip(
            seed=context.seed_for("weights"),
            width=self.width,
            layers=self.layers,
            embed_dim=self.embedding,
            size=16,
        )

    def fit(
        self, task: TaskData, data: DistilledData, recipe: Recipe, context: StageContext
    ) -> ClipModel:
        model = self.build(task, context)
        rows = image_text_rows(data.rows, model.image)
        train_on_task(model, task, ContrastiveObjective(), recipe, context, rows=rows)
        return model

    def load(self, folder: Path, task: TaskData, context: StageContext) -> ClipModel:
        del task
        return ClipModel.load(folder, context.device)


TEACHER = Squares(width=32, layers=4, embedding=12)
STUDENT = Squares()


def make_context(folder: Path, seed: int = 7) -> StageContext:
    folder.mkdir(parents=True, exist_ok=True)
    return StageContext(seed=seed, workdir=folder)


def make_teacher(folder: Path, steps: int = 0) -> ClipModel:
    context = make_context(folder / "teacher", seed=1)
    return TEACHER.fit(
        TASK, DistilledData.select(TASK, range(48)), replace(RECIPE, steps=steps), context
    )


def pairs_of(teacher: ClipModel, task: TaskData = TASK) -> StoredTeacher:
    rows = image_text_rows(task.train, teacher.image)
    return StoredTeacher(
        image=torch.from_numpy(teacher.encode_images(rows.images)),
        text=torch.from_numpy(teacher.encode_text(rows.captions)),
        scale=teacher.model.logit_scale.detach().exp(),
        bias=None,
    )


def make_stages(
    folder: Path, teacher: ClipModel, recipe: Recipe = RECIPE, **options: Any
) -> ProgressiveTraining:
    context = make_context(folder)
    return ProgressiveTraining(
        TinyClipOptions(teacher="squares", **options),
        student=STUDENT.build(TASK, context),
        teacher=teacher,
        pairs=pairs_of(teacher),
        rows=image_text_rows(TASK.train, teacher.image),
        task=TASK,
        recipe=recipe,
        context=context,
    )
