"""Splits tables of images, once, by rules that depend on the images' files alone.

What is carved are the images with the smallest SHA-256, so a split needs no seed and no order of
the rows, and one image never stands in two splits, whatever its captions are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import UsageError
from harness_clip.picture_rows import content_hashes

if TYPE_CHECKING:
    from datasets import Dataset

    from harness.types import Split


@dataclass(frozen=True)
class PictureSplits:
    """The three splits and what was done to make them."""

    splits: dict[Split, Dataset]
    notes: tuple[str, ...]


def make_splits(
    train: Dataset,
    validation: Dataset | None,
    test: Dataset | None,
    *,
    validation_share: float = 0.1,
    test_share: float = 0.1,
) -> PictureSplits:
    """Carves what is not given from train, and takes out of train what stands elsewhere.

    A given test split is left as it is; validation gives way to it, and train to both.

    Raises:
        UsageError: nothing is left of a split.
    """
    notes: list[str] = []
    hashed = _Hashed.of(train, "train")
    if test is not None:
        hashed = hashed.without(set(content_hashes(test, "test")), "test", notes)
    given = None if validation is None else _Hashed.of(validation, "validation")
    if given is not None:
        if test is not None:
            given = given.without(set(content_hashes(test, "test")), "test", notes)
        hashed = hashed.without(set(given.hashes), "validation", notes)
    if test is None:
        carved, hashed = hashed.carved(test_share)
        test = carved.rows
        notes.append(f"test: {len(test)} rows carved from train by hash")
        # Both shares are of the rows that there were.
        validation_share /= 1 - test_share
    if given is None:
        given, hashed = hashed.carved(validation_share)
        notes.append(f"validation: {len(given.rows)} rows carved from train by hash")
    made: dict[Split, Dataset] = {"train": hashed.rows, "validation": given.rows, "test": test}
    for name, rows in made.items():
        if len(rows) == 0:
            raise UsageError(f"no rows are left for {name}")
    return PictureSplits(made, tuple(notes))


@dataclass(frozen=True)
class _Hashed:
    rows: Dataset
    hashes: list[bytes]
    name: str

    @classmethod
    def of(cls, rows: Dataset, name: str) -> _Hashed:
        return cls(rows, content_hashes(rows, name), name)

    def without(self, others: set[bytes], other: str, notes: list[str]) -> _Hashed:
        kept = [number for number, own in enumerate(self.hashes) if own not in others]
        removed = len(self.hashes) - len(kept)
        if not removed:
            return self
        notes.append(f"{self.name}: {removed} rows removed whose image is in {other}")
        return self._taken(kept)

    def carved(self, share: float) -> tuple[_Hashed, _Hashed]:
        """The images with the smallest hashes, `share` of them, and the rest, in their order."""
        distinct = sorted(set(self.hashes))
        chosen = set(distinct[: max(1, round(share * len(distinct)))])
        inside = [n for n, own in enumerate(self.hashes) if own in chosen]
        outside = [n for n, own in enumerate(self.hashes) if own not in chosen]
        return self._taken(inside), self._taken(outside)

    def _taken(self, numbers: list[int]) -> _Hashed:
        return _Hashed(self.rows.select(numbers), [self.hashes[n] for n in numbers], self.name)
