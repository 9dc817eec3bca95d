"""How the fair split takes images: by their files, whatever the captions are."""

from __future__ import annotations

import pytest

from harness.data.images import image_bytes
from harness_clip.picture_rows import picture_table
from harness_clip.picture_splits import split_pictures


def test_both_shares_are_of_the_images_and_captions_of_one_stay_together() -> None:
    files = [b"image %d" % (n // 3) for n in range(60)]
    table = picture_table(files, [f"caption {n}" for n in range(60)], None)
    made, notes = split_pictures({"train": table}, validation_share=0.2, test_share=0.3)
    images = {name: list(image_bytes(rows, "image")) for name, rows in made.items()}
    assert {name: len(own) for name, own in images.items()} == {
        "train": 30, "validation": 12, "test": 18,
    }  # fmt: skip
    assert {name: len(set(own)) for name, own in images.items()} == {
        "train": 10, "validation": 4, "test": 6,
    }  # fmt: skip
    assert notes == (
        "test: 18 rows carved from train by hash",
        "validation: 12 rows carved from train by hash",
    )


@pytest.mark.parametrize("share", [0.1, 0.25])
def test_beside_a_given_test_split_validation_has_its_share_of_what_is_left(share: float) -> None:
    tables = {
        name: picture_table([b"%d" % n for n in numbers], ["" for _ in numbers], None)
        for name, numbers in (("train", range(50)), ("test", range(10)))
    }
    made, notes = split_pictures(tables, validation_share=share)
    assert len(made["validation"]) == round(share * 40)
    assert notes[0] == "train: 10 rows removed whose image is in test"
