"""Image-text tasks from a user's own data: a folder, tar files, or any data set of the hub."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.data.sources import DataLocator, HubOptions
from harness.data.texts import require_column
from harness.errors import UsageError
from harness.options import HeldOutShare
from harness.types import (
    CAPTION_COLUMN,
    IMAGE_COLUMN,
    IMAGE_TEXT_COLUMNS,
    LABEL_COLUMN,
    DataSource,
    TaskData,
)
from harness_clip.picture_files import read_folder, read_tars
from harness_clip.picture_rows import PictureColumns, picture_table, without_empty_captions
from harness_clip.picture_splits import split_pictures
from harness_clip.templates import filled

if TYPE_CHECKING:
    from datasets import Dataset

    from harness_clip.picture_files import Pictures


@dataclass(frozen=True)
class OwnTask:
    """What a task made of a user's images can be told.

    validation_share, test_share: of the images, carved by hash where no split is given.
    templates: texts of a class, with `{}` for its name; several are separated by commas.
    drop_empty: leave rows without a caption out, rather than refuse them.
    metric: what ranks; `top1` of zero-shot for classes, `recall_at_1` of retrieval without.
    """

    validation_share: HeldOutShare = 0.1
    test_share: HeldOutShare = 0.1
    templates: tuple[str, ...] = ("a photo of a {}",)
    drop_empty: bool = False
    metric: str = ""

    def __post_init__(self) -> None:
        for template in self.templates:
            if template.count("{}") != 1:
                raise UsageError(f"the template '{template}' should have one {{}} for the name")

    def _task(
        self,
        name: str,
        tables: Mapping[str, Dataset],
        label_names: tuple[str, ...],
        source: DataSource,
    ) -> TaskData:
        """The task made of the tables `train` and, where given, `validation` and `test`."""
        notes: list[str] = []
        rows = {
            split: without_empty_captions(
                table, f"the {split} split of '{name}'", self.drop_empty, notes
            )
            for split, table in tables.items()
        }
        splits, done = split_pictures(
            rows, validation_share=self.validation_share, test_share=self.test_share
        )
        return TaskData(
            name=name,
            modality="image-text",
            version=1,
            metric=self.metric or ("top1" if label_names else "recall_at_1"),
            input_columns=IMAGE_TEXT_COLUMNS,
            label_names=label_names,
            splits=splits,
            source=source,
            notes=(*notes, *done),
            class_texts=filled(self.templates, label_names),
        )

    def _from_pictures(self, name: str, pictures: Pictures, source: DataSource) -> TaskData:
        """The task of images read from files; classes are the distinct names, sorted."""
        names = tuple(sorted({one for one in pictures.classes if one}))
        unnamed = pictures.classes.count("")
        if names and unnamed:
            first = pictures.names[pictures.classes.index("")]
            raise UsageError(f"{unnamed} images of '{name}' have no class; the first is '{first}'")
        labels = [names.index(one) for one in pictures.classes] if names else None
        captions = [
            caption or (filled(self.templates[:1], (one,))[0][0] if one else "")
            for caption, one in zip(pictures.captions, pictures.classes, strict=True)
        ]
        if not self.drop_empty:
            missing = [n for n, caption in enumerate(captions) if not caption.strip()]
            if missing:
                raise UsageError(
                    f"{len(missing)} images of '{name}' have no caption; the first is"
                    f" '{pictures.names[missing[0]]}'",
                    hint="Write them, or leave these images out with drop_empty=true.",
                )
        return self._task(
            name, {"train": picture_table(pictures.images, captions, labels)}, names, source
        )


@dataclass(frozen=True)
class ImageFolder(OwnTask):
    """A folder of images: image-folder:PATH, split by the images' hashes.

    A caption stands in `metadata.jsonl` or `metadata.csv` (columns `file_name` and `caption`, or
    `text`), or in a text file of the image's name. An image in a subfolder has its name as the
    class, and without a caption the first template as the caption.

    path: of the folder.
    classes: whether subfolders are classes.
    """

    path: str = ""
    classes: bool = True

    def load(self, locator: DataLocator) -> TaskData:
        """Raises UsageError, HarnessError for files that are not there or cannot be read."""
        del locator
        folder = Path(_required(self.path, "image-folder:PATH")).expanduser()
        pictures = read_folder(folder, classes=self.classes)
        return self._from_pictures(folder.name, pictures, DataSource("file", folder.name))


@dataclass(frozen=True)
class WebDataset(OwnTask):
    """Tar files as img2dataset and WebDataset write them: webdataset:PATH, a file or a folder.

    Files of one name are a sample: an image, and `.txt` with the caption or `.json` with the key
    `caption`; `.cls`, if any, is the class. Split by the images' hashes.

    path: of a tar file, or of a folder with several.
    """

    path: str = ""

    def load(self, locator: DataLocator) -> TaskData:
        """Raises UsageError, HarnessError for files that are not there or cannot be read."""
        del locator
        path = Path(_required(self.path, "webdataset:PATH")).expanduser()
        name = path.name.removesuffix(".tar")
        return self._from_pictures(name, read_tars(path), DataSource("file", path.name))


@dataclass(frozen=True)
class ImageHub(HubOptions, OwnTask):
    """A data set of the hub with a column of images: image-hf:OWNER/NAME.

    image, caption, label: columns; without a caption column, captions are the first template.
    """

    image: str = IMAGE_COLUMN
    caption: str = CAPTION_COLUMN
    label: str = ""

    def load(self, locator: DataLocator) -> TaskData:
        """Raises UsageError for unknown splits or columns, MissingDependencyError offline."""
        repository = _required(self.dataset, "image-hf:OWNER/NAME")
        found = self.found(locator)
        names = self._label_names(found.splits["train"])
        tables = {
            split: self._columns(names).read(
                table, f"the split '{getattr(self, split)}' of '{repository}'"
            )
            for split, table in found.splits.items()
        }
        return self._task(repository, tables, names, found.source)

    def _columns(self, names: tuple[str, ...]) -> PictureColumns:
        if self.caption or not names:
            return PictureColumns(self.image, self.caption, self.label)
        texts = [own[0] for own in filled(self.templates[:1], names)]
        return PictureColumns(
            self.image, "", self.label, caption_of=lambda row: texts[row[self.label]]
        )

    def _label_names(self, train: Dataset) -> tuple[str, ...]:
        from datasets import ClassLabel

        if not self.label:
            return ()
        require_column(train, self.label, f"'{self.dataset}'")
        feature = train.features[self.label]
        if not isinstance(feature, ClassLabel):
            raise UsageError(
                f"column '{self.label}' of '{self.dataset}' has no names of classes",
                hint=f"It should be a ClassLabel; it is {feature}. Set {LABEL_COLUMN} to another.",
            )
        return tuple(feature.names)


def _required(value: str, written: str) -> str:
    if not value:
        raise UsageError(f"the task needs a place: {written}")
    return value
