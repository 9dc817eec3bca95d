"""The distiller `clip-reinforce`: reinforced data sets, as in MobileCLIP."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from annotated_types import Lt

from harness.context import StageContext
from harness.errors import UsageError
from harness.kit.clip.teacher_options import TeacherOptions
from harness.options import Count, Natural, NonNegative, PositiveShare, ShareBelowOne, Weight
from harness.protocols import Student
from harness.randomness import derive_seed
from harness.types import CAPTION_COLUMN, Recipe, TaskData

if TYPE_CHECKING:
    from harness.kit.clip.image_augmentation import Augmentation
    from harness.kit.clip.model import ClipModel

_SEED = derive_seed("clip-reinforce")
"""Of the augmentations, which all seeds share: their embeddings are stored."""


@dataclass(frozen=True)
class ClipReinforce(TeacherOptions):
    """The student by what an ensemble of teachers says of several views of every pair.

    MobileCLIP's reinforced data (Vasu et al. 2024, arXiv 2311.17049): embeddings of replayable
    augmentations and of further captions are stored once; at every visit a row shows its next
    augmentation, and the teachers' distributions over the batch, each at its own scale, are
    averaged. Further captions are shortenings of the row's own here, where the authors had a
    model write them.

    more_teachers: students trained like `teacher` that join the ensemble.
    augmentations: of each image, in turn, 0 for the image as it is; smallest_crop: least share of
    the area that one keeps; mirror: whether half of them are mirrored, which captions may forbid;
    colour: by how much factors of brightness, contrast and saturation differ from 1.
    captions: of a row, its own included.
    contrastive, distillation: weights of the two losses; the published ones are 0 and 1.
    teacher_scale: what teachers' cosines are multiplied by, 0 for each teacher's own.
    """

    more_teachers: tuple[str, ...] = ()
    augmentations: Natural = 4
    smallest_crop: PositiveShare = 0.6
    mirror: bool = False
    colour: ShareBelowOne = 0.2
    captions: Count = 2
    contrastive: Weight = 0.0
    distillation: Weight = 1.0
    teacher_scale: Annotated[NonNegative, Lt(math.inf)] = 0.0

    def __post_init__(self) -> None:
        if not self.contrastive + self.distillation:
            raise UsageError("clip-reinforce: both losses are off, so there is nothing to learn")

    def fit(
        self, task: TaskData, student: Student, recipe: Recipe, context: StageContext
    ) -> ClipModel:
        """The student trained on views of the whole train split.

        Raises:
            UsageError: the task has no images with captions, no teacher is named, a teacher or the
                student is no CLIP, or an augmentation is out of range.
            DivergenceError: training left the finite numbers.
        """
        from harness.kit.clip.student import build_clip_student, train_on_task
        from harness_clip_distill.reinforced_objective import ReinforcedObjective
        from harness_clip_distill.reinforcement import reinforcement

        model = build_clip_student(student, task, "clip-reinforce", context)
        augmentation, training = self._augmentation(), self.teacher_training()
        teachers = [
            reinforcement(
                name, task, training, augmentation, self.captions, self.teacher_scale, context
            )
            for name in (self.teacher, *self.more_teachers)
        ]
        objective = ReinforcedObjective(
            model,
            task.train[CAPTION_COLUMN][:],
            teachers,
            augmentation,
            contrastive=self.contrastive,
            distillation=self.distillation,
        )
        train_on_task(model, task, objective, recipe, context, augmentation=augmentation)
        return model

    def _augmentation(self) -> Augmentation | None:
        from harness.kit.clip.image_augmentation import Augmentation

        if not self.augmentations:
            return None
        return Augmentation(
            seed=_SEED,
            smallest_crop=self.smallest_crop,
            mirror=self.mirror,
            colour=self.colour,
            count=self.augmentations,
        )
