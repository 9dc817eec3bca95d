"""Images fitted to a model's size, as open_clip fits them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from datasets import Dataset, Features, Image, Value
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pictures

from harness.errors import HarnessError, UsageError
from harness.kit.clip.image_rows import ImageInput, fit_image, image_arrays, image_text_rows

FEATURES = Features({"image": Image(), "caption": Value("string")})


def _picture(width: int, height: int) -> Pictures.Image:
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Pictures.fromarray(values)


def _rows(pictures: list[Pictures.Image], captions: list[str]) -> Dataset:
    cells = []
    for picture in pictures:
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        cells.append({"bytes": buffer.getvalue(), "path": None})
    return Dataset.from_dict({"image": cells, "caption": captions}, features=FEATURES)


@pytest.mark.parametrize("resize", ["shortest", "squash", "longest"])
@pytest.mark.parametrize("shape", [(50, 30), (31, 64), (20, 20), (9, 40)])
def test_an_image_is_fitted_as_open_clip_does(resize: str, shape: tuple[int, int]) -> None:
    from open_clip.transform import PreprocessCfg, image_transform_v2

    image = ImageInput((24, 24), mean=(0, 0, 0), std=(1, 1, 1), resize=resize)
    theirs = image_transform_v2(
        PreprocessCfg(size=24, mean=image.mean, std=image.std, resize_mode=resize), is_train=False
    )
    expected = (theirs(_picture(*shape)).numpy().transpose(1, 2, 0) * 255).round()
    found = np.asarray(fit_image(_picture(*shape), image)).astype(float)
    assert np.abs(found - expected).max() <= 1


@settings(max_examples=30, deadline=None)
@given(
    width=st.integers(1, 90), height=st.integers(1, 90),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    resize=st.sampled_from(["shortest", "squash", "longest"]),
)  # fmt: skip
def test_every_image_ends_at_the_size_asked_for(
    width: int, height: int, size: tuple[int, int], resize: str
) -> None:
    fitted = fit_image(_picture(width, height), ImageInput(size, resize=resize))
    assert fitted.size == size[::-1]


def test_rows_keep_their_order_and_captions() -> None:
    pictures = [Pictures.new("RGB", (8, 8), (value, 0, 0)) for value in (10, 20, 30)]
    rows = image_text_rows(_rows(pictures, ["x", "y", "z"]), ImageInput((8, 8)))
    assert rows.images.dtype == np.uint8
    assert rows.images[:, 0, 0, 0].tolist() == [10, 20, 30]
    taken = rows.take([2, 0])
    assert taken.captions == ("z", "x")
    assert taken.images[:, 0, 0, 0].tolist() == [30, 10]


def test_a_damaged_image_is_named_by_its_row() -> None:
    rows = Dataset.from_dict(
        {"image": [{"bytes": b"nothing", "path": None}], "caption": ["x"]}, features=FEATURES
    )
    with pytest.raises(HarnessError, match="row 0"):
        image_arrays(rows, ImageInput((8, 8)))
    with pytest.raises(UsageError, match="no rows"):
        image_arrays(rows.select([]), ImageInput((8, 8)))
