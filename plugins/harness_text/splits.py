"""Splits rows once, by a fixed rule that depends on nothing but the texts themselves.

Rows are ordered by the SHA-256 of their text, so a split needs no seed and no order of the file,
and a row keeps its place when others are added. What is held out has the classes' shares. A text
stands once in train, and no text of train stands in a held-out split, be it with other case,
blanks or punctuation.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.errors import UsageError
from harness.types import Split
from harness_text.labelled import LabelledTexts

SplitSize = Callable[[int], int]
Key = tuple[str, ...]

_NOT_A_WORD = re.compile(r"\W+")


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


@dataclass(frozen=True)
class KeyedTexts:
    """Rows with what makes two of them the same, computed once.

    exact: each row's texts without case and with single blanks; content: those down to letters
    and digits, so that `bad .` equals `Bad` (a text that has neither stays as in `exact`).
    """

    rows: LabelledTexts
    exact: Sequence[Key]
    content: Sequence[Key]

    @classmethod
    def of(cls, rows: LabelledTexts) -> KeyedTexts:
        columns = [[" ".join(t.casefold().split()) for t in texts] for texts in rows.texts.values()]
        words = [[_NOT_A_WORD.sub("", t) or t for t in texts] for texts in columns]
        return cls(rows, list(zip(*columns, strict=True)), list(zip(*words, strict=True)))

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, indices: Sequence[int] | np.ndarray) -> KeyedTexts:
        """The rows at `indices`, in their order."""
        chosen = np.asarray(indices, dtype=np.int64)
        exact = [self.exact[i] for i in chosen.tolist()]
        content = [self.content[i] for i in chosen.tolist()]
        return KeyedTexts(self.rows.take(chosen), exact, content)


def make_splits(
    given: Unsplit,
    label_names: Sequence[str],
    *,
    validation_rows: SplitSize,
    test_rows: SplitSize,
) -> TaskSplits:
    """Removes repeats and overlaps, then carves what is not given, validation first.

    Given `test` rows are left as they are; the others give way to them.

    Args:
        validation_rows, test_rows: rows to carve for a number of rows to carve from, once repeats
            are gone; a carved split gets at least one row of each class.

    Raises:
        UsageError: a class has too few rows, or nothing is left of a split.
    """
    notes: list[str] = []
    train = _once(KeyedTexts.of(given.train), notes)
    held_out = {
        name: KeyedTexts.of(rows)
        for name, rows in (("test", given.test), ("validation", given.validation))
        if rows is not None
    }
    if len(held_out) == 2:
        held_out["validation"] = _apart(held_out, "validation", "test", notes)
    for name in held_out:
        train = _apart({"train": train, **held_out}, "train", name, notes)
    sizes = {"validation": validation_rows(len(train)), "test": test_rows(len(train))}
    to_carve = [name for name in sizes if name not in held_out]
    _require_rows_of_each_class(train, label_names, 1 + len(to_carve))
    for name in to_carve:
        held_out[name], train = carve(train, sizes[name])
        notes.append(f"{name}: {len(held_out[name])} rows carved from train by hash")
        train = _apart({"train": train, **held_out}, "train", name, notes)
    _require_rows_of_each_class(train, label_names, 1)
    return TaskSplits(train.rows, held_out["validation"].rows, held_out["test"].rows, tuple(notes))


def carve(rows: KeyedTexts, size: int) -> tuple[KeyedTexts, KeyedTexts]:
    """The held-out rows and the rest, both in the order of `rows`.

    Within a class, the rows whose first text has the smallest hash are held out, so that pairs
    that share it mostly stay on one side. A class of one row is held out whole.
    """
    labels = rows.rows.labels
    shares = apportion(size, np.bincount(labels).tolist())
    order = _hash_order(rows)
    held_out = np.zeros(len(rows), dtype=bool)
    for label, share in enumerate(shares):
        held_out[order[labels[order] == label][:share]] = True
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


def _require_rows_of_each_class(train: KeyedTexts, label_names: Sequence[str], needed: int) -> None:
    counts = np.bincount(train.rows.labels, minlength=len(label_names))
    short = [f"'{label_names[c]}' has {n}" for c, n in enumerate(counts.tolist()) if n < needed]
    if short:
        raise UsageError(
            f"too few rows of a class in train: {', '.join(short[:5])}, needed {needed}",
            hint="Every class needs a row in train and in each split that is carved from it.",
        )


def _once(rows: KeyedTexts, notes: list[str]) -> KeyedTexts:
    """Each text once, and none that carries several labels."""
    positions: dict[Key, list[int]] = {}
    for position, key in enumerate(rows.exact):
        positions.setdefault(key, []).append(position)
    labels = rows.rows.labels
    agreeing = [same for same in positions.values() if len(set(labels[same].tolist())) == 1]
    consistent = sum(len(same) for same in agreeing)
    _note(notes, len(rows) - consistent, "train: {} rows removed whose text carries several labels")
    _note(notes, consistent - len(agreeing), "train: {} rows removed that repeat another")
    return rows if len(agreeing) == len(rows) else rows.take([same[0] for same in agreeing])


def _apart(
    splits: Mapping[str, KeyedTexts], name: str, held_out: str, notes: list[str]
) -> KeyedTexts:
    """The rows of split `name` whose content does not occur in the held-out split."""
    rows, seen = splits[name], set(splits[held_out].content)
    kept = [position for position, key in enumerate(rows.content) if key not in seen]
    if not kept:
        raise UsageError(f"every text of {name} is also in {held_out}")
    removed = len(rows) - len(kept)
    _note(notes, removed, f"{name}: {{}} rows removed whose text is also in {held_out}")
    return rows.take(kept) if removed else rows


def _note(notes: list[str], count: int, sentence: str) -> None:
    if count:
        notes.append(sentence.format(count))


def _hash_order(rows: KeyedTexts) -> np.ndarray:
    """The positions of the rows in the order of their hashes, [n]."""
    keys = [
        (hashlib.sha256(content[0].encode()).digest(), content, exact)
        for content, exact in zip(rows.content, rows.exact, strict=True)
    ]
    return np.array(sorted(range(len(rows)), key=keys.__getitem__), dtype=np.int64)
