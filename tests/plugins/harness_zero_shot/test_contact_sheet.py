"""The contact sheet: which rows it shows, and that odd images and names do no harm."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from harness_zero_shot.contact_sheet import contact_sheet, evenly
from numbered_pictures import make_rows


def opened(content: bytes) -> Image.Image:
    assert content.startswith(b"\x89PNG")
    return Image.open(io.BytesIO(content)).convert("RGB")


def colours(content: bytes) -> set[int]:
    """Reds that fill a tile: the numbers of the pictures shown, which are all 256 or more."""
    found = opened(content).getcolors(1 << 20)
    assert found is not None
    return {colour[0] for count, colour in found if count > 2000 and max(colour) < 250}


def test_shows_right_and_wrong_rows() -> None:
    rows = make_rows([n * 256 for n in range(0, 200, 10)], ["c"] * 20)
    labels = np.zeros(20, dtype=int)
    predicted = np.where(np.arange(20) < 4, 0, 1)
    content = contact_sheet(rows, predicted, labels, ["cat", "dog"])
    shown = colours(content)
    assert {0, 10, 20, 30} <= shown
    # 12 of the 16 wrong ones, spread from the first to near the last.
    assert 40 in shown
    assert 12 <= len(shown) <= 16
    assert contact_sheet(rows, predicted, labels, ["cat", "dog"]) == content


@pytest.mark.parametrize("predicted", [[0, 1, 2], [1, 2, 0]])
def test_all_right_or_all_wrong_is_a_sheet_too(predicted: list[int]) -> None:
    rows = make_rows([1, 2, 3], ["c"] * 3)
    names = ["a name that is far too long for a tile", "", "ünïcödé <b> 猫"]
    assert opened(contact_sheet(rows, np.array(predicted), np.arange(3), names)).size[0] > 400


def test_images_of_any_shape_and_mode_fit() -> None:
    files = []
    for mode, size in (("L", (1, 300)), ("RGBA", (300, 1)), ("I;16", (5, 7)), ("P", (1, 1))):
        file = io.BytesIO()
        Image.new(mode, size).save(file, "PNG")
        files.append({"bytes": file.getvalue()})
    rows = make_rows([0, 1, 2, 3], ["c"] * 4).map(
        lambda row, n: {"image": files[n]}, with_indices=True
    )
    assert opened(contact_sheet(rows, np.zeros(4, int), np.zeros(4, int), ["a"])).size[0] > 400


def test_is_small_enough_to_keep_with_every_run() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (24, 64, 64, 3)).astype(np.uint8)
    files = []
    for values in noise:
        file = io.BytesIO()
        Image.fromarray(values).save(file, "PNG")
        files.append({"bytes": file.getvalue()})
    rows = make_rows([0] * 24, ["c"] * 24).map(
        lambda row, n: {"image": files[n]}, with_indices=True
    )
    labels = np.arange(24) % 2
    assert len(contact_sheet(rows, np.zeros(24, int), labels, ["a", "b"])) < 200_000


def test_rows_are_spread_evenly() -> None:
    assert evenly(np.arange(100), 4).tolist() == [0, 25, 50, 75]
    assert evenly(np.array([3, 9]), 4).tolist() == [3, 9]
    assert evenly(np.array([], dtype=int), 4).tolist() == []
