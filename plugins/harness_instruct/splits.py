"""Makes pool and target of instructions, once, by rules that depend on the texts alone.

What is carved are the prompts with the smallest SHA-256, so a split needs no seed and no order of
the file. The same prompt with the same completion stands once in the pool, and no prompt of the
target stands in the pool, be it with other case, blanks or punctuation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.errors import UsageError
from harness_instruct.instructions import Instruction

Rows = Sequence[Instruction]


@dataclass(frozen=True)
class InstructionSplits:
    """The pool, the target's two splits, and what was done to make them."""

    train: Rows
    validation: Rows
    test: Rows
    notes: tuple[str, ...]


def make_splits(
    train: Rows,
    validation: Rows | None,
    test: Rows | None,
    *,
    validation_rows: Callable[[int], int],
    test_rows: Callable[[int], int],
    pool: Rows | None = None,
    limit: int = 0,
) -> InstructionSplits:
    """Carves what is not given from train, puts `pool` in its place, and removes overlaps.

    Given `test` rows are left as they are; validation gives way to them, and the pool to both.

    Args:
        train: rows of the target's own; what validation and test are carved from.
        validation_rows, test_rows: rows to carve for a number of rows to carve from.
        pool: rows from elsewhere that become the train split; None takes what is left of train.
        limit: rows kept of validation and of test, chosen by hash; all when 0. Rows left out are
            nowhere else.

    Raises:
        UsageError: nothing is left of a split.
    """
    notes: list[str] = []
    train = _once(_written(train, "train", notes), "train", notes)
    if test is not None:
        train = _apart(train, test, "train", "test", notes)
        if validation is not None:
            validation = _apart(validation, test, "validation", "test", notes)
    if validation is not None:
        train = _apart(train, validation, "train", "validation", notes)
    sizes = (validation_rows(len(train)), test_rows(len(train)))
    if validation is None:
        validation, train = carve(train, sizes[0])
        notes.append(f"validation: {len(validation)} rows carved from train by hash")
    if test is None:
        test, train = carve(train, sizes[1])
        notes.append(f"test: {len(test)} rows carved from train by hash")
    if pool is not None:
        train = _once(_written(pool, "pool", notes), "pool", notes)
        for name, rows in (("test", test), ("validation", validation)):
            train = _apart(train, rows, "pool", name, notes)
    if limit:
        validation = _limited(validation, limit, "validation", notes)
        test = _limited(test, limit, "test", notes)
    for name, rows in (("train", train), ("validation", validation), ("test", test)):
        if not rows:
            raise UsageError(f"no rows are left for {name}")
    return InstructionSplits(train, validation, test, tuple(notes))


def carve(rows: Rows, size: int) -> tuple[Rows, Rows]:
    """The rows of the `size` prompts with the smallest hashes, and the rest, in their order.

    Rows that share a prompt stay on one side, so the carved side may be larger.
    """
    order = sorted({row.content for row in rows}, key=_hash)
    chosen = set(order[: max(size, 1)])
    held_out = [row for row in rows if row.content in chosen]
    return held_out, [row for row in rows if row.content not in chosen]


def _limited(rows: Rows, limit: int, name: str, notes: list[str]) -> Rows:
    """At most `limit` rows, those whose prompts have the smallest hashes, in their order."""
    order = sorted(range(len(rows)), key=lambda n: (*_hash(rows[n].content), n))
    kept = [rows[n] for n in sorted(order[:limit])]
    _note(notes, len(rows) - len(kept), f"{name}: {{}} rows left out by the limit")
    return kept


def _written(rows: Rows, name: str, notes: list[str]) -> Rows:
    """The rows whose prompt and completion hold more than blanks."""
    kept = [row for row in rows if row.prompt.strip() and row.completion.strip()]
    _note(notes, len(rows) - len(kept), f"{name}: {{}} rows removed that lack a text")
    return kept


def _once(rows: Rows, name: str, notes: list[str]) -> Rows:
    first = {(row.content, row.completion): row for row in reversed(rows)}
    kept = [row for row in rows if first[row.content, row.completion] is row]
    _note(notes, len(rows) - len(kept), f"{name}: {{}} rows removed that repeat another")
    return kept


def _apart(rows: Rows, held_out: Rows, name: str, other: str, notes: list[str]) -> Rows:
    seen = {row.content for row in held_out}
    kept = [row for row in rows if row.content not in seen]
    _note(notes, len(rows) - len(kept), f"{name}: {{}} rows removed whose prompt is in {other}")
    return kept


def _note(notes: list[str], count: int, sentence: str) -> None:
    if count:
        notes.append(sentence.format(count))


def _hash(content: str) -> tuple[bytes, str]:
    return hashlib.sha256(content.encode()).digest(), content
