"""Images as they come: every mode becomes RGB, and what is damaged is named."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset, Features, Image, Value
from PIL import Image as Pictures

from harness.data.images import decode_image, image_bytes, image_columns
from harness.errors import HarnessError


def _file(picture: Pictures.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def _shown(picture: Pictures.Image, kind: str = "PNG", **options: object) -> np.ndarray:
    decoded = decode_image(_file(picture, kind, **options), "row 0")
    assert decoded.mode == "RGB"
    return np.asarray(decoded)


def test_grayscale_becomes_three_equal_channels() -> None:
    values = np.array([[0, 100], [200, 255]], dtype=np.uint8)
    assert np.array_equal(_shown(Pictures.fromarray(values)), np.repeat(values[..., None], 3, 2))


def test_sixteen_bits_are_scaled_to_eight_rather_than_clipped() -> None:
    values = np.array([[0, 256], [32768, 65535]], dtype=np.uint16)
    shown = _shown(Pictures.fromarray(values))
    assert shown[..., 0].tolist() == [[0, 1], [128, 255]]
    thirty_two = _shown(Pictures.fromarray(values.astype(np.int32)), "TIFF")
    assert np.array_equal(thirty_two, shown)


def test_a_palette_is_looked_up() -> None:
    picture = Pictures.new("P", (2, 1))
    picture.putpalette([10, 20, 30, 200, 100, 50])
    picture.putpixel((1, 0), 1)
    assert _shown(picture).tolist() == [[[10, 20, 30], [200, 100, 50]]]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB"])
def test_what_is_transparent_is_white(mode: str) -> None:
    if mode == "P":
        picture = Pictures.new("P", (1, 1), 1)
        picture.putpalette([1, 2, 3, 4, 5, 6])
        shown = _shown(picture, transparency=1)
    elif mode == "RGB":
        shown = _shown(Pictures.new("RGB", (1, 1), (7, 8, 9)), transparency=(7, 8, 9))
    else:
        shown = _shown(Pictures.new(mode, (1, 1), (0,) * len(mode)))
    assert shown.tolist() == [[[255, 255, 255]]]


def test_half_transparent_is_halfway_to_white() -> None:
    shown = _shown(Pictures.new("RGBA", (1, 1), (0, 0, 0, 128)))
    assert abs(int(shown[0, 0, 0]) - 127) <= 1


def test_inks_and_single_bits_are_converted() -> None:
    assert _shown(Pictures.new("CMYK", (1, 1), (0, 0, 0, 0)), "JPEG").min() > 250
    assert _shown(Pictures.new("1", (1, 1), 1)).tolist() == [[[255, 255, 255]]]


def test_the_cameras_rotation_is_applied() -> None:
    picture = Pictures.new("RGB", (4, 2))
    exif = Pictures.Exif()
    exif[0x0112] = 6
    assert _shown(picture, "JPEG", exif=exif).shape == (4, 2, 3)


@pytest.mark.parametrize(
    "content",
    [b"no image at all", _file(Pictures.new("RGB", (64, 64)), "JPEG")[:300]],
    ids=["text", "cut off"],
)
def test_a_damaged_file_is_one_error_that_names_its_row(content: bytes) -> None:
    with pytest.raises(HarnessError, match="the image in row 7 of train cannot be read"):
        decode_image(content, "row 7 of train")


def test_values_without_a_known_range_are_refused() -> None:
    content = _file(Pictures.fromarray(np.ones((2, 2), dtype=np.float32)), "TIFF")
    with pytest.raises(HarnessError, match="floating-point"):
        decode_image(content, "row 0")


def test_bytes_are_those_of_the_file_whether_embedded_or_on_disk(tmp_path: Path) -> None:
    content = _file(Pictures.new("RGB", (3, 3), (1, 2, 3)), "JPEG")
    (tmp_path / "a.jpg").write_bytes(content)
    features = Features({"image": Image(), "caption": Value("string")})
    rows = Dataset.from_dict(
        {
            "image": [{"bytes": content, "path": None}, str(tmp_path / "a.jpg")],
            "caption": ["a", "b"],
        },
        features=features,
    )
    assert image_columns(rows) == ("image",)
    assert list(image_bytes(rows, "image")) == [content, content]


def test_a_row_without_image_or_with_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    features = Features({"image": Image()})
    cells = [None, {"bytes": None, "path": str(tmp_path / "gone.png")}]
    for number, message in enumerate(("row 0 of train has no image", "row 0 of train cannot be")):
        rows = Dataset.from_dict({"image": [cells[number]]}, features=features)
        with pytest.raises(HarnessError, match=message):
            list(image_bytes(rows, "image", "train"))
