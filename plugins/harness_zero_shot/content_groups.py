"""Groups of rows with the same image or the same caption."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.data.images import decode_image, image_bytes
from harness.types import IMAGE_COLUMN

if TYPE_CHECKING:
    from datasets import Dataset
    from PIL.Image import Image


@dataclass(frozen=True)
class ContentGroups:
    """of_row: [n] the group of each row, numbered as they first appear; first: [groups] a row."""

    of_row: np.ndarray
    first: np.ndarray


def image_groups(rows: Dataset) -> ContentGroups:
    """Rows whose images show the same as eight-bit RGB, however they are stored.

    Raises:
        HarnessError: an image cannot be read; names the row.
    """
    return _grouped(
        _pixels(decode_image(content, f"row {number}"))
        for number, content in enumerate(image_bytes(rows, IMAGE_COLUMN))
    )


def caption_groups(captions: Sequence[str]) -> ContentGroups:
    """Rows whose captions are the same but for case and blanks, which tokenizers drop."""
    return _grouped(plain_caption(caption) for caption in captions)


def plain_caption(caption: str) -> str:
    """A caption without what makes no difference: case, and how many blanks there are."""
    return " ".join(caption.casefold().split())


def _pixels(image: Image) -> Hashable:
    return image.size, hashlib.sha256(image.tobytes()).digest()


def _grouped(contents: Iterable[Hashable]) -> ContentGroups:
    numbers: dict[Hashable, int] = {}
    of_row = [numbers.setdefault(content, len(numbers)) for content in contents]
    grouped = np.array(of_row, dtype=np.int64)
    return ContentGroups(grouped, np.unique(grouped, return_index=True)[1])
