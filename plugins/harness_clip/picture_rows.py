"""Rows of images with captions, built and checked."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.data.images import image_bytes, image_columns
from harness.data.texts import require_column
from harness.errors import HarnessError, UsageError
from harness.types import CAPTION_COLUMN, IMAGE_COLUMN, LABEL_COLUMN

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset
    from PIL.Image import Image

_BITMAP_HEADER = 54


def picture_table(
    images: Sequence[bytes], captions: Sequence[str], labels: Sequence[int] | np.ndarray | None
) -> Dataset:
    """The columns `image`, `caption` and, where there are classes, `label`."""
    import pyarrow as pa

    return _table(_image_cells(pa.chunked_array([pa.array(images, pa.binary())])), captions, labels)


def bitmap(picture: Image) -> bytes:
    """An RGB or gray image as an uncompressed file, whose bytes follow from the pixels alone."""
    if picture.mode != "RGB":
        picture = picture.convert("RGB")
    width, height = picture.size
    stride = (3 * width + 3) // 4 * 4
    pixels = picture.tobytes("raw", "BGR", stride, -1)
    sizes = (_BITMAP_HEADER + len(pixels), 0, _BITMAP_HEADER)
    about = (40, width, height, 1, 24, 0, len(pixels), 2835, 2835, 0, 0)
    return b"BM" + struct.pack("<III", *sizes) + struct.pack("<IiiHHIIiiII", *about) + pixels


@dataclass(frozen=True)
class PictureColumns:
    """Which columns of a table are what; label may be empty.

    caption_of: makes the caption from a row without image, where no column holds it.
    """

    image: str = IMAGE_COLUMN
    caption: str = CAPTION_COLUMN
    label: str = ""
    caption_of: Callable[[dict[str, Any]], str] | None = None

    def read(self, table: Dataset, where: str) -> Dataset:
        """The table with columns of the names that tasks have, images untouched.

        Raises:
            UsageError: a column is not there, or holds neither images nor their bytes.
            HarnessError: a caption that is no text; names the row.
        """

        needed = [self.image, *([self.label] if self.label else ())]
        if self.caption_of is None:
            needed.append(self.caption)
        for name in needed:
            require_column(table, name, where)
        cells = _images_of(table, self.image, where)
        labels = table[self.label][:] if self.label else None
        return _table(cells, self._captions(table, where), labels)

    def _captions(self, table: Dataset, where: str) -> list[str]:
        if self.caption_of is not None:
            return [self.caption_of(row) for row in table.remove_columns([self.image])]
        captions = table[self.caption][:]
        for number, caption in enumerate(captions):
            if caption is not None and not isinstance(caption, str):
                kind = type(caption).__name__
                raise HarnessError(
                    f"row {number} of {where} has a {kind} for a caption, not a text",
                    hint="Several captions of one image are rows of their own.",
                )
        return [caption or "" for caption in captions]


def without_empty_captions(rows: Dataset, name: str, drop: bool, notes: list[str]) -> Dataset:
    """The rows with a caption; without `drop` there must be one in each.

    Raises:
        UsageError: a row without a caption; names it.
    """
    kept = [number for number, text in enumerate(rows[CAPTION_COLUMN][:]) if text.strip()]
    missing = len(rows) - len(kept)
    if not missing:
        return rows
    first = next(n for n, text in enumerate(rows[CAPTION_COLUMN][:]) if not text.strip())
    if not drop:
        raise UsageError(
            f"{missing} rows of {name} have no caption; the first is row {first}",
            hint="Write them, or leave these rows out with drop_empty=true.",
        )
    notes.append(f"{name}: {missing} rows removed that lack a caption")
    return rows.select(kept)


def content_hashes(rows: Dataset, where: str) -> list[bytes]:
    """SHA-256 of each image's file."""
    return [hashlib.sha256(content).digest() for content in image_bytes(rows, IMAGE_COLUMN, where)]


def _images_of(table: Dataset, column: str, where: str) -> pa.ChunkedArray:
    """A column of images, or of the bytes of their files, as the cells of a `datasets.Image`."""
    from datasets import Value

    values = table.select_columns([column]).with_format("arrow")[:].column(column)
    if column in image_columns(table):
        return values
    if table.features[column] not in (Value("binary"), Value("large_binary")):
        raise UsageError(
            f"column '{column}' of {where} holds no images but {table.features[column]}",
            hint="It should be a datasets.Image, or the bytes of image files.",
        )
    return _image_cells(values)


def _image_cells(contents: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa

    chunks = [
        pa.StructArray.from_arrays(
            [chunk.cast(pa.binary()), pa.nulls(len(chunk), pa.string())], names=["bytes", "path"]
        )
        for chunk in contents.chunks
    ]
    return pa.chunked_array(chunks, pa.struct({"bytes": pa.binary(), "path": pa.string()}))


def _table(
    cells: pa.ChunkedArray, captions: Sequence[str], labels: Sequence[int] | np.ndarray | None
) -> Dataset:
    """Made from arrow columns, since casting the columns of a `Dataset` copies every image."""
    import pyarrow as pa
    from datasets import Dataset, Features, Image, Value

    columns: dict[str, Any] = {IMAGE_COLUMN: cells, CAPTION_COLUMN: pa.array(captions, pa.string())}
    features: dict[str, Any] = {IMAGE_COLUMN: Image(), CAPTION_COLUMN: Value("string")}
    if labels is not None:
        columns[LABEL_COLUMN] = pa.array([int(label) for label in labels], pa.int64())
        features[LABEL_COLUMN] = Value("int64")
    schema = Features(features).arrow_schema
    return Dataset(pa.table(columns).cast(schema).replace_schema_metadata(schema.metadata))
