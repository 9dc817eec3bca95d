"""Image-text tasks with a name: digits, cifar10 and groceries."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from harness.data.sources import DataLocator, HubDataset
from harness.data.texts import require_column
from harness.errors import HarnessError
from harness.types import IMAGE_TEXT_COLUMNS, LABEL_COLUMN, DataSource, TaskData
from harness_clip.picture_rows import PictureColumns, bitmap, picture_table
from harness_clip.picture_splits import split_pictures
from harness_clip.templates import filled, settled, with_article

if TYPE_CHECKING:
    from datasets import Dataset

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
DIGIT_TEMPLATES = ("a photo of the digit {}", "the number {}", "a handwritten {}")
CIFAR10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
CIFAR10_HUB = HubDataset("uoft-cs/cifar10", "0b2714987fa478483af9968de7c934580d0bb9a2")
PHOTO_TEMPLATES = ("a photo of a {}",)


@dataclass(frozen=True)
class Digits:
    """1,797 handwritten digits of 8x8 pixels (Alpaydin and Kaynak 1998), which scikit-learn has.

    Validation and test are a tenth and a fifth of the rows, carved by hash.
    """

    def load(self, locator: DataLocator) -> TaskData:
        import PIL.Image
        from sklearn.datasets import load_digits

        del locator
        found = load_digits()
        scaled = (found.images * 255 / 16).round().astype(np.uint8)
        images = [bitmap(PIL.Image.fromarray(pixels)) for pixels in scaled]
        captions = [
            settled(DIGIT_TEMPLATES, DIGITS[label], image)
            for image, label in zip(images, found.target, strict=True)
        ]
        table = picture_table(images, captions, found.target)
        splits, notes = split_pictures({"train": table}, test_share=0.2)
        version = importlib.metadata.version("scikit-learn")
        return TaskData(
            name="digits",
            modality="image-text",
            version=1,
            metric="top1",
            input_columns=IMAGE_TEXT_COLUMNS,
            label_names=DIGITS,
            splits=splits,
            source=DataSource("package", f"scikit-learn=={version}"),
            notes=notes,
            class_texts=filled(DIGIT_TEMPLATES, DIGITS),
        )


@dataclass(frozen=True)
class Cifar10:
    """CIFAR-10 (Krizhevsky 2009), reported on its test split; captions are filled templates.

    Validation is a tenth of train, carved by hash. The hub's rows have no captions of their own
    and get the template `a photo of a ...`.
    """

    def load(self, locator: DataLocator) -> TaskData:
        """Raises MissingDependencyError where the rows are nowhere, HarnessError if damaged."""
        found = locator.find("cifar10", ("train", "test"), hub=CIFAR10_HUB)
        rows = {
            name: self._rows(table, f"the {name} split of 'cifar10'")
            for name, table in found.splits.items()
        }
        splits, notes = split_pictures(rows)
        return TaskData(
            name="cifar10",
            modality="image-text",
            version=1,
            metric="top1",
            input_columns=IMAGE_TEXT_COLUMNS,
            label_names=CIFAR10_CLASSES,
            splits=splits,
            source=found.source,
            notes=notes,
            class_texts=filled(PHOTO_TEMPLATES, CIFAR10_CLASSES),
        )

    def _rows(self, table: Dataset, where: str) -> Dataset:
        if "img" in table.column_names:
            columns = PictureColumns("img", label=LABEL_COLUMN, caption_of=self._caption)
            return columns.read(table, where)
        return PictureColumns(label=LABEL_COLUMN).read(table, where)

    @staticmethod
    def _caption(row: dict[str, Any]) -> str:
        return with_article(f"a photo of a {CIFAR10_CLASSES[row[LABEL_COLUMN]]}")


@dataclass(frozen=True)
class Groceries:
    """The Grocery Store Dataset (Klasson, Zhang and Kjellström 2019): 81 products.

    Its own three splits, less the images that stand in two. A class is told by its template and
    by the shop's description of the product.

    captions: of the rows: `template` says the product's name, `description` what the shop says.
    """

    captions: Literal["template", "description"] = "template"

    def load(self, locator: DataLocator) -> TaskData:
        """Raises MissingDependencyError where the rows are nowhere, HarnessError if damaged."""
        found = locator.find("groceries", ("train", "val", "test"))
        column = "caption" if self.captions == "template" else "description"
        rows = {
            split: PictureColumns(caption=column, label=LABEL_COLUMN).read(
                found.splits[name], f"the {name} split of 'groceries'"
            )
            for split, name in (("train", "train"), ("validation", "val"), ("test", "test"))
        }
        splits, notes = split_pictures(rows)
        names, texts = _products(found.splits["train"])
        return TaskData(
            name="groceries",
            modality="image-text",
            version=1,
            metric="top1",
            input_columns=IMAGE_TEXT_COLUMNS,
            label_names=names,
            splits=splits,
            source=found.source,
            notes=notes,
            class_texts=texts,
        )


def _products(train: Dataset) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Names of the classes, and caption and description of each."""
    columns = (LABEL_COLUMN, "class", "caption", "description")
    for name in columns:
        require_column(train, name, "the train split of 'groceries'")
    facts = {
        label: (name, caption, description)
        for label, name, caption, description in zip(
            *(train[name][:] for name in columns), strict=True
        )
    }
    if sorted(facts) != list(range(len(facts))):
        raise HarnessError("the train split of 'groceries' lacks rows of a class")
    ordered = [facts[label] for label in range(len(facts))]
    return tuple(name for name, *_ in ordered), tuple(tuple(texts) for _, *texts in ordered)
