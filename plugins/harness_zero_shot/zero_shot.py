"""The evaluator `zero-shot`: classification by the nearest class text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from harness.protocols import ImageTextModel
from harness.types import LABEL_COLUMN, Score, Split, TaskData
from harness_zero_shot.class_ranks import class_score, metrics_of_items
from harness_zero_shot.class_texts import class_embeddings, read_templates, texts_of_classes
from harness_zero_shot.contact_sheet import contact_sheet
from harness_zero_shot.embeddings import image_embeddings, require_same_width, text_embeddings

if TYPE_CHECKING:
    from harness.context import StageContext
    from harness.protocols import Student, TaskRecord


@dataclass(frozen=True)
class ZeroShot:
    """Classification without training on labels (Radford et al. 2021, arXiv 2103.00020, 3.1).

    A class is the mean of its texts' unit embeddings, scaled to length 1; an image is of the
    class with the highest cosine. A tie is never in the model's favour. Ranks by the task's
    metric where it is one of `top1`, `top5` and `mean_per_class_recall`, else by `top1`.

    templates: texts with `{}` for the class's name: several, one, or the path of a text file with
    one on each line. The task's own texts of each class when empty. The templates themselves, not
    the path, enter keys and records.
    """

    templates: tuple[str, ...] | str = ()

    needs: ClassVar[tuple[str, ...]] = ("encode_image", "encode_text")
    modalities: ClassVar[tuple[str, ...]] = ("image-text",)

    def __post_init__(self) -> None:
        object.__setattr__(self, "templates", read_templates(self.templates))

    def check(self, task: TaskData, students: Mapping[str, Student], *, tunes: bool) -> None:
        """Refuses a task whose classes have no texts."""
        del students, tunes
        texts_of_classes(task, tuple(self.templates))

    def evaluate(
        self, trained: ImageTextModel, task: TaskData, split: Split, context: StageContext
    ) -> Score:
        """Leaves the picture `contact-sheet` of right and wrong rows of the test split.

        Raises ContractError for embeddings that are not unit vectors of one width, and UsageError
        for classes without texts."""
        rows = task.split(split)
        texts = texts_of_classes(task, tuple(self.templates))
        encoded = text_embeddings(trained, list(chain.from_iterable(texts)), context)
        classes = class_embeddings(encoded, [len(own) for own in texts])
        images = image_embeddings(trained, rows, context)
        require_same_width(trained, images, classes)
        labels = np.asarray(rows[LABEL_COLUMN][:])
        score = class_score(images.astype(np.float64) @ classes.T, labels, task.metric)
        if split == "test":
            predicted = score.items["prediction"]
            sheet = contact_sheet(rows, predicted, labels, task.label_names)
            context.keep_picture("contact-sheet", sheet)
        return score

    def recompute(self, items: Mapping[str, np.ndarray], task: TaskRecord) -> dict[str, float]:
        """Every metric of `evaluate`, from ranks and targets; see `metrics_of_items`."""
        return metrics_of_items(items, len(task.label_names))
