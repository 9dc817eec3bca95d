"""Students that give their untrained CLIP away, and its training with a method's own objective."""

from __future__ import annotations

import numpy as np

from harness.context import StageContext
from harness.errors import UsageError
from harness.kit.clip.image_augmentation import Augmentation
from harness.kit.clip.image_rows import ImageTextRows, image_text_rows
from harness.kit.clip.model import ClipModel
from harness.kit.clip.training import ClipObjective, mean_contrastive_loss, train_clip
from harness.protocols import BuildsModel, Student
from harness.types import Recipe, TaskData


def build_clip_student(
    student: Student, task: TaskData, method: str, context: StageContext
) -> ClipModel:
    """The student's untrained model.

    Args:
        method: what asks for it, as an error names it.

    Raises:
        UsageError: the task has no images with captions, or the student builds no CLIP.
    """
    if task.modality != "image-text":
        raise UsageError(
            f"{method} is for images with captions, and task '{task.name}' is of {task.modality}"
        )
    built = student.build(task, context) if isinstance(student, BuildsModel) else None
    if not isinstance(built, ClipModel):
        raise UsageError(
            f"{method} trains a CLIP, and the student builds none",
            hint="Take a student like clip:tiny.",
        )
    return built


def train_on_task(
    model: ClipModel,
    task: TaskData,
    objective: ClipObjective,
    recipe: Recipe,
    context: StageContext,
    *,
    rows: ImageTextRows | None = None,
    augmentation: Augmentation | None = None,
) -> None:
    """Trains in place on the whole train split by `train_clip`, whose errors see.

    A checkpoint is chosen by the contrastive loss on validation, whatever the objective.

    Args:
        rows: the train split as the model takes it, where the caller has it already.
        augmentation: of the images, by row and visit; none when None.
    """
    train = image_text_rows(task.train, model.image, context) if rows is None else rows
    validation = None
    if recipe.checkpoint == "validation":
        held_out = image_text_rows(task.validation, model.image, context)

        def validation() -> float:
            return -mean_contrastive_loss(model, held_out, recipe.batch_size)

    weights = np.ones(len(train), dtype=np.float32)
    train_clip(
        model, train, weights, objective, recipe, context,
        augmentation=augmentation, validation=validation,
    )  # fmt: skip
