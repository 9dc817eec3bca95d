"""Splits rows once, by a fixed rule that depends on nothing but the texts themselves.

Rows are ordered by the SHA-256 of their text, so a split needs no seed and no order of the file,
and a row keeps its place when others are added. What is held out has the classes' shares. A text
stands once in train, and never in train and in a held-out split.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from harness.errors import UsageError
from harness.types import Split
from harness_text.labelled import LabelledTexts


@dataclass(frozen=True)
class TaskSplits:
    """The three splits of a task, and what was done to the rows to make them."""

    train: LabelledTexts
    validation: LabelledTexts
    test: LabelledTexts
    notes: tuple[str, ...]

    def by_name(self) -> dict[Split, LabelledTexts]:
        return {"train": self.train, "validation": self.validation, "test": self.test}


@dataclass(frozen=True)
class Unsplit:
    """Rows to be split; `validation` and `test` are None where they are to be carved from train."""

    train: LabelledTexts
    validation: LabelledTexts | None = None
    test: LabelledTexts | None = None


def make_splits(given: Unsplit, *, validation_rows: int, test_rows: int) -> TaskSplits:
    """Removes repeats and overlaps, then carves what is not given, validation first.

    Given `test` rows are left as they are; the others give way to them.

    Args:
        validation_rows, test_rows: sizes of the splits to carve, at least one row of each class.

    Raises:
        UsageError: a class has too few rows, or nothing is left of a split.
    """
    notes: list[str] = []
    train, validation, test = _once(given.train, notes), given.validation, given.test
    if validation is not None:
        validation = _apart(validation, "validation", test, "test", notes)
        train = _apart(train, "train", validation, "validation", notes)
    train = _apart(train, "train", test, "test", notes)
    if validation is None:
        validation, train = carve(train, validation_rows)
        notes.append(f"validation: {len(validation)} rows carved from train by hash")
    if test is None:
        test, train = carve(train, test_rows)
        notes.append(f"test: {len(test)} rows carved from train by hash")
    return TaskSplits(train, validation, test, tuple(notes))


def carve(rows: LabelledTexts, size: int) -> tuple[LabelledTexts, LabelledTexts]:
    """The held-out rows and the rest, both in the order of `rows`.

    Within a class, the rows with the smallest hashes are held out. The hash of the first text
    comes first, so that pairs that share it mostly stay on one side.

    Raises:
        UsageError: a class has a single row.
    """
    labels = rows.labels
    counts = np.bincount(labels)
    shares = apportion(size, counts.tolist())
    rank = np.argsort(_hash_order(rows))
    held_out = np.zeros(len(rows), dtype=bool)
    for label, share in enumerate(shares):
        if counts[label] == 1:
            raise UsageError(
                f"class {label} has too few rows to be split: one is left for train",
                hint="Every class needs a row in train, validation and test.",
            )
        members = np.flatnonzero(labels == label)
        held_out[members[np.argsort(rank[members])][:share]] = True
    return rows.take(np.flatnonzero(held_out)), rows.take(np.flatnonzero(~held_out))


def apportion(size: int, counts: Sequence[int]) -> list[int]:
    """Shares of `size` proportional to the counts, by largest remainder; ties go to low labels.

    Every class that has rows gets at least one and, where it has more than one, keeps one back;
    so the sum can differ from `size` when classes are that small.
    """
    total = sum(counts)
    quotas = [size * count / total for count in counts]
    shares = [int(quota) for quota in quotas]
    by_remainder = sorted(range(len(counts)), key=lambda c: (shares[c] - quotas[c], c))
    for c in by_remainder[: size - sum(shares)]:
        shares[c] += 1
    return [
        min(max(share, 1), max(count - 1, 1)) if count else 0
        for share, count in zip(shares, counts, strict=True)
    ]


def _once(rows: LabelledTexts, notes: list[str]) -> LabelledTexts:
    """Each text once, and none that carries several labels."""
    labels_of: dict[tuple[str, ...], set[int]] = {}
    first: dict[tuple[str, ...], int] = {}
    for position, (key, label) in enumerate(zip(rows.normalised, rows.labels.tolist(), strict=True)):
        labels_of.setdefault(key, set()).add(label)
        first.setdefault(key, position)
    kept = [position for key, position in first.items() if len(labels_of[key]) == 1]
    repeats = Counter(rows.normalised)
    conflicting = sum(repeats[key] for key, labels in labels_of.items() if len(labels) > 1)
    _note(notes, conflicting, "train: {} rows removed whose text carries several labels")
    repeated = len(rows) - conflicting - len(kept)
    _note(notes, repeated, "train: {} rows removed that repeat another")
    return rows if len(kept) == len(rows) else rows.take(np.array(kept, dtype=np.int64))


def _apart(
    rows: LabelledTexts,
    name: str,
    held_out: LabelledTexts | None,
    held_out_name: str,
    notes: list[str],
) -> LabelledTexts:
    """The rows whose text does not occur in a held-out split."""
    if held_out is None:
        return rows
    seen = set(held_out.normalised)
    kept = [position for position, key in enumerate(rows.normalised) if key not in seen]
    if not kept:
        raise UsageError(f"every text of {name} is also in {held_out_name}")
    removed = len(rows) - len(kept)
    _note(notes, removed, f"{name}: {{}} rows removed whose text is also in {held_out_name}")
    return rows.take(np.array(kept, dtype=np.int64)) if removed else rows


def _note(notes: list[str], count: int, sentence: str) -> None:
    if count:
        notes.append(sentence.format(count))


def _hash_order(rows: LabelledTexts) -> np.ndarray:
    """The positions of the rows in the order of their hashes, [n]."""
    hashes = [(_sha256(key[:1]), _sha256(key)) for key in rows.normalised]
    return np.array(sorted(range(len(rows)), key=hashes.__getitem__), dtype=np.int64)


def _sha256(texts: Iterable[str]) -> bytes:
    return hashlib.sha256("\x1f".join(texts).encode()).digest()
