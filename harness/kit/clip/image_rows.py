"""Rows of images and captions as arrays of the size that a model takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from harness.context import StageContext
from harness.data.images import decode_image, image_bytes
from harness.errors import UsageError
from harness.types import CAPTION_COLUMN, IMAGE_COLUMN

if TYPE_CHECKING:
    from datasets import Dataset
    from PIL.Image import Image

OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class ImageInput:
    """What a model takes for an image.

    size: (height, width) in pixels; mean, std: of each channel, of values in [0, 1].
    resize: `shortest` scales the shorter side and cuts the middle out, `squash` scales both,
    `longest` scales the longer side and pads with black, as open_clip does.
    """

    size: tuple[int, int]
    mean: tuple[float, float, float] = OPENAI_MEAN
    std: tuple[float, float, float] = OPENAI_STD
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    resize: Literal["shortest", "squash", "longest"] = "shortest"

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> ImageInput:
        """What `dataclasses.asdict` and JSON left of it."""
        lists = {name: tuple(stored[name]) for name in ("size", "mean", "std")}
        return cls(**{**stored, **lists})


@dataclass(frozen=True)
class ImageTextRows:
    """Images of one size with their captions.

    images: [n, height, width, 3] uint8; captions: n texts.
    """

    images: np.ndarray
    captions: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.captions)

    def take(self, indices: Sequence[int] | np.ndarray) -> ImageTextRows:
        """The rows at `indices`, in that order."""
        chosen = np.asarray(indices, dtype=np.int64)
        return ImageTextRows(self.images[chosen], tuple(self.captions[i] for i in chosen))


def image_text_rows(
    rows: Dataset, image: ImageInput, context: StageContext | None = None
) -> ImageTextRows:
    """The columns `image` and `caption` of a table, as a model of input `image` takes them."""
    return ImageTextRows(image_arrays(rows, image, context), tuple(rows[CAPTION_COLUMN][:]))


def image_arrays(
    rows: Dataset, image: ImageInput, context: StageContext | None = None
) -> np.ndarray:
    """[n, height, width, 3] uint8: the column `image`, fitted to the input's size.

    Raises:
        UsageError: there are no rows.
        HarnessError: an image cannot be read; names the row.
    """
    if len(rows) == 0:
        raise UsageError("there are no rows with images")
    contents = image_bytes(rows, IMAGE_COLUMN)
    shown = contents if context is None else context.track(contents, "reading images", len(rows))
    arrays = np.empty((len(rows), *image.size, 3), dtype=np.uint8)
    for number, content in enumerate(shown):
        arrays[number] = np.asarray(fit_image(decode_image(content, f"row {number}"), image))
    return arrays


def fit_image(picture: Image, image: ImageInput) -> Image:
    """A picture of exactly the input's size, resized and cut as the input says."""
    import PIL.Image

    resample = getattr(PIL.Image.Resampling, image.interpolation.upper())
    height, width = image.size
    if picture.size == (width, height):
        return picture
    if image.resize == "squash":
        return picture.resize((width, height), resample)
    scaled = _scaled(picture, image)
    resized = picture.resize(scaled, resample)
    left, top = _start(resized.width - width), _start(resized.height - height)
    return resized.crop((left, top, left + width, top + height))


def _start(excess: int) -> int:
    """Where the middle begins, with torchvision's rounding; below 0 what is missing is padded."""
    return round(excess / 2) if excess >= 0 else -(-excess // 2)


def _scaled(picture: Image, image: ImageInput) -> tuple[int, int]:
    """(width, height) before cutting or padding; a square's longer side is rounded down, as
    torchvision does."""
    height, width = image.size
    ratios = (picture.width / width, picture.height / height)
    ratio = min(ratios) if image.resize == "shortest" else max(ratios)
    if image.resize == "shortest" and width == height:
        shorter = min(picture.size)
        return int(width * picture.width / shorter), int(width * picture.height / shorter)
    return max(1, round(picture.width / ratio)), max(1, round(picture.height / ratio))
