"""Contact sheets of rightly and wrongly classified images."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from harness.data.images import decode_image, image_bytes
from harness.types import IMAGE_COLUMN

if TYPE_CHECKING:
    from datasets import Dataset
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

_COLUMNS, _LINES = 6, 2
_TILE, _LABEL, _GAP, _TITLE = 80, 26, 8, 22
_COLOURS = 192
_FONT_SIZE = 11
_GROUND, _INK, _RIGHT, _WRONG = "#ffffff", "#222222", "#00734f", "#b3261e"


def contact_sheet(
    rows: Dataset, predicted: np.ndarray, labels: np.ndarray, names: Sequence[str]
) -> bytes:
    """A PNG file: up to 12 right and 12 wrong rows, each kind spread evenly over the split.

    Under each image stands the predicted class and, where that is wrong, the right one.

    Args:
        rows: with the column `image`; predicted, labels: [n] class numbers; names: of classes.
    """
    from PIL import Image, ImageDraw

    right = predicted == labels
    block = _TITLE + _LINES * (_TILE + _LABEL + _GAP)
    size = (_GAP + _COLUMNS * (_TILE + _GAP), 2 * block + _GAP)
    sheet = Image.new("RGB", size, _GROUND)
    draw = ImageDraw.Draw(sheet)
    for place, (title, which) in enumerate((("right", right), ("wrong", ~right))):
        top = place * block
        count = int(which.sum())
        draw.text((_GAP, top + 5), f"{count} of {len(rows)} {title}", _INK, _font(13))
        chosen = evenly(np.flatnonzero(which), _COLUMNS * _LINES)
        contents = image_bytes(rows.select(chosen), IMAGE_COLUMN) if len(chosen) else iter(())
        for number, (row, content) in enumerate(zip(chosen, contents, strict=True)):
            line, column = divmod(number, _COLUMNS)
            corner = (
                _GAP + column * (_TILE + _GAP),
                top + _TITLE + line * (_TILE + _LABEL + _GAP),
            )
            sheet.paste(_tile(decode_image(content, f"row {row}")), corner)
            said, true = names[int(predicted[row])], names[int(labels[row])]
            _label(draw, corner, said, "" if title == "right" else f"not {true}")
    file = io.BytesIO()
    sheet.quantize(_COLOURS, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return file.getvalue()


def evenly(rows: np.ndarray, most: int) -> np.ndarray:
    """At most so many of some rows, spread evenly over them, in their order."""
    count = min(most, len(rows))
    return rows[np.arange(count) * len(rows) // max(1, count)]


def _tile(image: Image) -> Image:
    """The whole image on a square, small ones enlarged without smoothing."""
    from PIL import Image

    scale = _TILE / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    way = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    square = Image.new("RGB", (_TILE, _TILE), _GROUND)
    square.paste(image.resize((width, height), way), ((_TILE - width) // 2, (_TILE - height) // 2))
    return square


def _label(draw: ImageDraw, corner: tuple[int, int], said: str, instead_of: str) -> None:
    left, top = corner[0], corner[1] + _TILE + 1
    draw.text((left, top), _cut(draw, said), _WRONG if instead_of else _RIGHT, _font(_FONT_SIZE))
    if instead_of:
        draw.text((left, top + 12), _cut(draw, instead_of), _INK, _font(_FONT_SIZE))


def _cut(draw: ImageDraw, text: str) -> str:
    """A text that is no wider than a tile."""
    font = _font(_FONT_SIZE)
    if draw.textlength(text, font) <= _TILE:
        return text
    while text and draw.textlength(f"{text}…", font) > _TILE:
        text = text[:-1]
    return f"{text}…"


def _font(size: int) -> FreeTypeFont | ImageFont:
    from PIL import ImageFont

    return ImageFont.load_default(size)
