"""Numbered pictures, and models made by hand that embed them as they are told to."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from datasets import Dataset, Features, Image, Value
from PIL import Image as Pictures

from harness.context import StageContext
from harness.records.record import ComponentRecord, TaskRecord
from harness.types import DataSource, StudentInfo, TaskData


@lru_cache
def picture(number: int, *, kind: str = "PNG", size: int = 2) -> bytes:
    """A picture of one colour, which is its number."""
    file = io.BytesIO()
    Pictures.new("RGB", (size, size), (number // 256, number % 256, 7)).save(file, kind)
    return file.getvalue()


def number_of(image: Pictures.Image) -> int:
    high, low, _ = image.convert("RGB").getpixel((0, 0))  # type: ignore[misc]
    return int(high * 256 + low)


def make_rows(
    images: Sequence[int], captions: Sequence[str], labels: Sequence[int] | None = None
) -> Dataset:
    """Rows that show numbered pictures."""
    columns = {"image": [{"bytes": picture(n), "path": None} for n in images], "caption": captions}
    features = {"image": Image(), "caption": Value("string")}
    if labels is not None:
        columns["label"], features["label"] = labels, Value("int64")
    return Dataset.from_dict(columns, features=Features(features))


def make_task(
    test: Dataset,
    *,
    classes: Sequence[str] = (),
    texts: Sequence[Sequence[str]] = (),
    metric: str = "top1",
    train: Dataset | None = None,
    validation: Dataset | None = None,
) -> TaskData:
    return TaskData(
        name="pictures",
        modality="image-text",
        version=1,
        metric=metric,
        input_columns=("image", "caption"),
        label_names=tuple(classes),
        splits={"train": train or test, "validation": validation or test, "test": test},
        source=DataSource("file", "fixture"),
        class_texts=tuple(tuple(own) for own in texts),
    )


def facts(classes: int = 0) -> TaskRecord:
    """What a record says of the task."""
    component = ComponentRecord("pictures", "pictures", "1", "fixture", "", {})
    names = tuple(f"class {c}" for c in range(classes))
    return TaskRecord(component, "f", "t", 1, "top1", "file", "fixture", {"test": 5}, names)


class Told:
    """Embeds picture n as `images[n]` and a text as `texts[text]`, scaled to length 1."""

    info = StudentInfo("told", "", "none", 0)

    def __init__(
        self, images: np.ndarray | Mapping[int, np.ndarray], texts: Mapping[str, np.ndarray]
    ) -> None:
        self.images = images
        self.texts = texts
        self.asked: list[str] = []

    def encode_image(self, rows: Dataset, context: StageContext | None = None) -> np.ndarray:
        return unit(np.stack([self.images[number_of(image)] for image in rows["image"][:]]))

    def encode_text(self, texts: Sequence[str], context: StageContext | None = None) -> np.ndarray:
        self.asked += texts
        return unit(np.stack([self.texts[text] for text in texts]))

    def save(self, folder: object) -> None:
        raise NotImplementedError


def unit(vectors: np.ndarray) -> np.ndarray:
    wide = np.asarray(vectors, dtype=np.float64)
    return (wide / np.linalg.norm(wide, axis=1, keepdims=True)).astype(np.float32)


def directions(count: int, width: int = 8, seed: int = 0) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=(count, width)))
