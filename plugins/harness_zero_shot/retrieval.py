"""The evaluator `retrieval`: recall at 1, 5 and 10, images by text and texts by image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from harness.kit.evaluation import broken_items, named_items, unfit_task
from harness.protocols import ImageTextModel
from harness.types import CAPTION_COLUMN, IMAGE_TEXT_COLUMNS, Score, Split, TaskData
from harness_zero_shot.compact import compact
from harness_zero_shot.content_groups import caption_groups, image_groups
from harness_zero_shot.embeddings import image_embeddings, require_same_width, text_embeddings
from harness_zero_shot.retrieval_ranks import best_positive_ranks

if TYPE_CHECKING:
    from harness.context import StageContext
    from harness.protocols import Student, TaskRecord

CUTOFFS = (1, 5, 10)
_ITEMS = ("score", "image", "caption", "image_rank", "caption_rank")


@dataclass(frozen=True)
class _Outcomes:
    """One row a row of the split: its image's and its caption's number, and the ranks found.

    image_rank: of the best right image for the row's caption, among all images; caption_rank: of
    the best right caption for the row's image, among all captions.
    """

    image: np.ndarray
    caption: np.ndarray
    image_rank: np.ndarray
    caption_rank: np.ndarray


@dataclass(frozen=True)
class Retrieval:
    """Recall at 1, 5 and 10 of images by caption (`image_`) and of captions by image (`text_`).

    A hit is at least one right answer among the first k (Karpathy and Fei-Fei 2015, and
    CLIP_benchmark); ties count against the model. Equal images are one image, and captions that
    differ in case and blanks alone are one caption: the right answers to either are all that it
    stands in a row with. `image_...` and `text_...` are means over captions and over images;
    `recall_at_k` is the mean over rows, each asked both ways, of which `score` is made. Median
    ranks are given as one over the median, so that all metrics are fractions and more is better.
    Ranks by the task's metric where it is one of these, else by `recall_at_1`.
    """

    needs: ClassVar[tuple[str, ...]] = ("encode_image", "encode_text")
    modalities: ClassVar[tuple[str, ...]] = ("image-text",)

    def check(self, task: TaskData, students: Mapping[str, Student], *, tunes: bool) -> None:
        """Refuses a task without captions."""
        del students, tunes
        _require_captions(task)

    def evaluate(
        self, trained: ImageTextModel, task: TaskData, split: Split, context: StageContext
    ) -> Score:
        """Raises ContractError for embeddings that are not unit vectors of one width."""
        _require_captions(task)
        rows = task.split(split)
        captions = rows[CAPTION_COLUMN][:]
        of_image, of_caption = image_groups(rows), caption_groups(captions)
        images = image_embeddings(trained, rows.select(of_image.first), context)
        texts = text_embeddings(trained, [captions[row] for row in of_caption.first], context)
        require_same_width(trained, images, texts)
        pairs = np.unique(np.stack([of_caption.of_row, of_image.of_row], axis=1), axis=0)
        found = _Outcomes(
            of_image.of_row,
            of_caption.of_row,
            best_positive_ranks(texts, images, pairs)[of_caption.of_row],
            best_positive_ranks(images, texts, pairs[:, ::-1])[of_image.of_row],
        )
        metrics = _metrics(found)
        main = task.metric if task.metric in metrics else "recall_at_1"
        by_row = _row_scores(found)
        return Score(
            metrics=metrics,
            main=main,
            items={
                "score": by_row.get(main, by_row["recall_at_1"]),
                "image": compact(found.image, len(rows)),
                "caption": compact(found.caption, len(rows)),
                "image_rank": compact(found.image_rank, len(rows)),
                "caption_rank": compact(found.caption_rank, len(rows)),
            },
        )

    def recompute(self, items: Mapping[str, np.ndarray], task: TaskRecord) -> dict[str, float]:
        """Every metric of `evaluate`, from ranks and the numbers of images and captions.

        Raises ContractError when an array is missing, a rank lies outside of what is ranked, one
        image or caption has two ranks, or a score does not follow from the ranks."""
        del task
        score, *outcomes = named_items(items, _ITEMS)
        found = _Outcomes(*(values.astype(np.int64) for values in outcomes))
        for asked, answered, ranks in (
            ("caption", found.image, found.image_rank),
            ("image", found.caption, found.caption_rank),
        ):
            if ranks.min(initial=1) < 1 or ranks.max(initial=1) > len(np.unique(answered)):
                raise broken_items("ranks from 1 to the number of answers", f"others for a {asked}")
            queries = getattr(found, asked)
            if len(np.unique(np.stack([queries, ranks]), axis=1).T) > len(np.unique(queries)):
                raise broken_items(f"one rank for each {asked}", "several")
        if not any(np.array_equal(score, own) for own in _row_scores(found).values()):
            raise broken_items("scores that follow from the ranks", "others")
        return _metrics(found)


def _require_captions(task: TaskData) -> None:
    lacking = set(IMAGE_TEXT_COLUMNS) - set(task.input_columns)
    if lacking:
        raise unfit_task(task, "input_columns", "image and caption", ", ".join(task.input_columns))


def _metrics(found: _Outcomes) -> dict[str, float]:
    captions = np.unique(found.caption, return_index=True)[1]
    images = np.unique(found.image, return_index=True)[1]
    by_row = _row_scores(found)
    metrics: dict[str, float] = {}
    for k in CUTOFFS:
        metrics[f"recall_at_{k}"] = float(by_row[f"recall_at_{k}"].mean(dtype=np.float64))
        metrics[f"image_recall_at_{k}"] = float(by_row[f"image_recall_at_{k}"][captions].mean())
        metrics[f"text_recall_at_{k}"] = float(by_row[f"text_recall_at_{k}"][images].mean())
    metrics["image_reciprocal_median_rank"] = float(1 / np.median(found.image_rank[captions]))
    metrics["text_reciprocal_median_rank"] = float(1 / np.median(found.caption_rank[images]))
    return metrics


def _row_scores(found: _Outcomes) -> dict[str, np.ndarray]:
    """[n] outcomes of each row by metric; both ways together are 0, a half or 1."""
    scores: dict[str, np.ndarray] = {}
    for k in CUTOFFS:
        image, text = found.image_rank <= k, found.caption_rank <= k
        both = (image.astype(np.float32) + text) / 2
        scores[f"recall_at_{k}"] = both.astype(np.float32)
        scores[f"image_recall_at_{k}"], scores[f"text_recall_at_{k}"] = image, text
    return scores
