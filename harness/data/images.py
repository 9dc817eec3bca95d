"""Images in tables: the bytes of their files, and their pixels as eight-bit RGB."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError

if TYPE_CHECKING:
    from datasets import Dataset
    from PIL.Image import Image

THUMBNAIL = 32
_BACKGROUND = (255, 255, 255)
_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N")


def image_columns(rows: Dataset) -> tuple[str, ...]:
    """The columns that are a `datasets.Image`, in the table's order."""
    from datasets import Image

    return tuple(name for name, feature in rows.features.items() if isinstance(feature, Image))


def image_bytes(rows: Dataset, column: str, where: str = "the rows") -> Iterator[bytes]:
    """The content of a column's image files, in order, undecoded.

    Raises:
        HarnessError: a row without an image, or one whose file cannot be read; names the row.
    """
    for number, row in enumerate(_cells(rows, column)):
        content = row["bytes"] if row else None
        if content is None and row and row["path"]:
            try:
                content = Path(row["path"]).read_bytes()
            except OSError as error:
                raise HarnessError(
                    f"the image in row {number} of {where} cannot be read: {error}"
                ) from error
        if not content:
            raise HarnessError(f"row {number} of {where} has no image")
        yield content


def undecoded(rows: Dataset) -> Dataset:
    """The same table, with images as the bytes or the path of their files."""
    from datasets import Image

    for name in image_columns(rows):
        rows = rows.cast_column(name, Image(decode=False))
    return rows


def decode_image(content: bytes, where: str) -> Image:
    """What an image file shows, as `RGB` with eight bits, upright.

    Grayscale becomes equal channels, sixteen bits are scaled down to eight, a palette is looked
    up, what is transparent is white, and the camera's rotation is applied.

    Raises:
        HarnessError: it is no image, or damaged, or of a kind without known range; names `where`.
    """
    import PIL.Image
    import PIL.ImageOps

    try:
        with warnings.catch_warnings(), PIL.Image.open(io.BytesIO(content)) as opened:
            warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
            opened.load()
            image = PIL.ImageOps.exif_transpose(opened)
    except Exception as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise HarnessError(f"the image in {where} cannot be read: {reason}") from error
    if image.mode == "F":
        raise HarnessError(
            f"the image in {where} has floating-point values, whose range is not known",
            hint="Convert it to eight or sixteen bits.",
        )
    return _rgb(image)


def thumbnail(content: bytes) -> str:
    """The `data:` address of a small JPEG of an image, at most 32 pixels a side."""
    picture = decode_image(content, "a sample")
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    small = io.BytesIO()
    picture.save(small, "JPEG", quality=70, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(small.getvalue()).decode()}"


def _rgb(image: Image) -> Image:
    import PIL.Image

    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode in _SIXTEEN_BIT or image.mode == "I":
        image = _eight_bits(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        ground = PIL.Image.new("RGBA", image.size, (*_BACKGROUND, 255))
        return PIL.Image.alpha_composite(ground, image).convert("RGB")
    return image.convert("RGB")


def _eight_bits(image: Image) -> Image:
    """Sixteen bits by their upper eight; `I` is how some files of sixteen bits are opened."""
    import numpy as np
    import PIL.Image

    values = np.asarray(image).astype(np.int64)
    return PIL.Image.fromarray((np.clip(values, 0, 65535) >> 8).astype(np.uint8))


def _cells(rows: Dataset, column: str) -> Iterator[dict[str, Any] | None]:
    for batch in undecoded(rows.select_columns([column])).iter(batch_size=256):
        yield from batch[column]
