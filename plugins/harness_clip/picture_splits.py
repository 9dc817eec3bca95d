"""What the fair split is told of images: one image stands in one split, whatever its captions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from harness.data.splitting import RowKeys, split_rows
from harness_clip.picture_rows import content_hashes

if TYPE_CHECKING:
    from datasets import Dataset

    from harness.types import Split


def split_pictures(
    tables: Mapping[str, Dataset], *, validation_share: float = 0.1, test_share: float = 0.1
) -> tuple[dict[Split, Dataset], tuple[str, ...]]:
    """The three splits and notes of what was done.

    Args:
        tables: `train` and, where they are given, `validation` and `test`.
        validation_share, test_share: of the distinct images, if not given.

    Raises:
        UsageError: nothing is left of a split.
    """

    def test_images(images: int) -> int:
        return max(1, round(test_share * images))

    def validation_images(images: int) -> int:
        if "test" in tables:
            return round(validation_share * images)
        # Both shares are of the images that there were.
        return round(validation_share / (1 - test_share) * (images - test_images(images)))

    made = split_rows(
        {name: _keys(rows, name) for name, rows in tables.items()},
        {"test": test_images, "validation": validation_images},
        noun="image",
        share_of="contents",
    )
    # Of a list `select` pickles every number.
    return made.rows(tables, lambda rows, at: rows.select(np.asarray(at))), made.notes


def _keys(rows: Dataset, name: str) -> RowKeys:
    hashes = content_hashes(rows, name)
    return RowKeys(content=hashes, order=hashes, exact=range(len(hashes)))
