"""The fair split: the one rule by which rows become train, validation and test.

It sees keys instead of rows, so texts, instructions and images are split alike:

- No content stands in two splits. Test rows that are given stay as they are; validation gives way
  to them, and train to both.
- Train keeps one of the rows that repeat one another, and none that carries several labels.
- What is not given is carved from train: the rows that come first in the order of their hashes.
  So a split needs no seed, the order of the rows does not matter, and a row tends to keep its
  place when others are added.
- With classes, single rows are carved, in the shares of the classes, and train gives way to their
  near repeats. Without, all rows of a content are carved together.
- A pool from elsewhere takes the place of what is left of train, and gives way as train does.
- What a limit leaves out of a held-out split is in no split.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import nsmallest
from typing import Literal, TypeVar

from harness.errors import UsageError
from harness.types import Split

Rows = TypeVar("Rows")
Size = Callable[[int], int]
"""How many rows or contents to carve from so many that there are."""

_SPLITS: tuple[Split, ...] = ("train", "validation", "test")
_GIVE_WAY = {"test": {"train", "validation"}, "validation": {"train"}}
_NOT_A_WORD = re.compile(r"\W+")


@dataclass(frozen=True)
class RowKeys:
    """What the rule knows of a table's n rows.

    content: [n] what may not stand in two splits, all of one sortable type.
    order: [n] SHA-256 digests, the smallest of which are held out; rows that share one mostly stay
    together.
    exact: [n] what train may hold once, such as a row's number where it may repeat itself; None for
    a row that lacks a text and is left out of train.
    labels: [n] classes as numbers from 0; None where there are none or carving ignores them.
    """

    content: Sequence[Hashable]
    order: Sequence[bytes]
    exact: Sequence[Hashable | None]
    labels: Sequence[int] | None = None


@dataclass(frozen=True)
class RowSplits:
    """The rows of each split, as a table's name with positions there, and what was done."""

    places: Mapping[Split, tuple[str, list[int]]]
    notes: tuple[str, ...]

    def rows(
        self, tables: Mapping[str, Rows], take: Callable[[Rows, list[int]], Rows]
    ) -> dict[Split, Rows]:
        """Each split's rows, taken from the tables that the keys were made of."""
        return {split: take(tables[name], at) for split, (name, at) in self.places.items()}


def word_key(text: str) -> str:
    """A text down to letters and digits without case; one that has neither only loses its case.

    `bad .` equals `Bad`, but `!` is not `?`.
    """
    lowered = text.casefold()
    return _NOT_A_WORD.sub("", lowered) or lowered


def order_key(text: str) -> bytes:
    """The SHA-256 digest of a text, as `RowKeys.order` has them."""
    return hashlib.sha256(text.encode()).digest()


def split_rows(
    tables: Mapping[str, RowKeys],
    sizes: Mapping[Split, Size],
    *,
    noun: str,
    found: str = "is in",
    share_of: Literal["rows", "contents"] = "rows",
    label_names: Sequence[str] = (),
    limit: int = 0,
) -> RowSplits:
    """Removes repeats and overlaps, then carves what is not given.

    Args:
        tables: the keys of `train` and, where they are given, of `validation`, `test` and `pool`;
            notes name them in this order.
        sizes: of what is not given, in the order of carving; at least one row is carved, or with
            classes one of each.
        noun, found: what a content is and how it overlaps, as in "whose text is in test".
        share_of: what a size is computed from: train's rows or its distinct contents, once repeats
            and overlaps are gone.
        label_names: the classes; each needs a row in train and in what is carved.
        limit: rows kept of validation and of test, the first by hash; all when 0.

    Raises:
        UsageError: a class has too few rows, or nothing is left of a split.
    """
    splitting = _Splitting(tables, noun, found)
    splitting.clean("train")
    for held_out, weaker in _GIVE_WAY.items():
        for name in (n for n in tables if n in weaker and held_out in tables):
            splitting.give_way(name, held_out)
    train = splitting.parts["train"]
    available = len(train.positions if share_of == "rows" else train.contents())
    missing = {name: size(available) for name, size in sizes.items() if name not in tables}
    splitting.require_classes(label_names, 1 + len(missing))
    for name, size in missing.items():
        splitting.carve(name, size)
    splitting.require_classes(label_names, 1)
    if "pool" in tables:
        splitting.clean("pool")
        for held_out in _GIVE_WAY:
            splitting.give_way("pool", held_out)
        splitting.parts["train"] = splitting.parts["pool"]
    for name in ("validation", "test") if limit else ():
        splitting.limit(name, limit)
    for name in _SPLITS:
        if not splitting.parts[name].positions:
            raise UsageError(f"no rows are left for {name}")
    places = {n: (splitting.parts[n].table, splitting.parts[n].positions) for n in _SPLITS}
    return RowSplits(places, tuple(splitting.notes))


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


@dataclass(frozen=True)
class _Part:
    """The rows of a table that are in a split: their positions, ascending."""

    table: str
    keys: RowKeys
    positions: list[int]

    def contents(self) -> set[Hashable]:
        return {self.keys.content[i] for i in self.positions}

    def labels(self) -> list[int]:
        """The rows' classes, one and the same where there are none."""
        labels = self.keys.labels
        return [0 if labels is None else labels[i] for i in self.positions]

    def units(self) -> list[tuple[Hashable, ...]]:
        """What of each row is carved together, in the order of carving when sorted."""
        keys = self.keys
        if keys.labels is None:
            return [(keys.order[i], keys.content[i]) for i in self.positions]
        return [(keys.order[i], keys.content[i], keys.exact[i]) for i in self.positions]


class _Splitting:
    """The splits while they are made, by name, and the notes of what was done."""

    def __init__(self, tables: Mapping[str, RowKeys], noun: str, found: str) -> None:
        self.parts = {
            name: _Part(name, keys, list(range(len(keys.content)))) for name, keys in tables.items()
        }
        self.notes: list[str] = []
        self._noun, self._found = noun, found

    def clean(self, name: str) -> None:
        """Leaves each text once, and none that carries several labels."""
        part = self.parts[name]
        exact, labels = part.keys.exact, part.keys.labels
        at = [i for i in part.positions if exact[i] is not None]
        self._keep(name, at, "removed that lack a text")
        if labels is not None:
            label = {exact[i]: labels[i] for i in at}
            doubtful = {exact[i] for i in at if labels[i] != label[exact[i]]}
            at = [i for i in at if exact[i] not in doubtful]
            self._keep(name, at, f"removed whose {self._noun} carries several labels")
        first = {exact[i]: i for i in reversed(at)}
        self._keep(name, sorted(first.values()), "removed that repeat another")

    def give_way(self, name: str, held_out: str) -> None:
        """Leaves the rows whose content does not occur in the held-out split."""
        part, taken = self.parts[name], self.parts[held_out].contents()
        kept = [i for i in part.positions if part.keys.content[i] not in taken]
        overlap = f"{self._found} {held_out}"
        # A pool takes the place of train, which may then be empty.
        replaced = name == "train" and "pool" in self.parts
        if part.positions and not kept and not replaced:
            raise UsageError(f"no rows are left for {name}: every {self._noun} of {name} {overlap}")
        self._keep(name, kept, f"removed whose {self._noun} {overlap}")

    def carve(self, name: Split, size: int) -> None:
        """Moves the rows with the smallest hashes out of train."""
        train = self.parts["train"]
        units = train.units()
        by_class: defaultdict[int, set[tuple[Hashable, ...]]] = defaultdict(set)
        for label, unit in zip(train.labels(), units, strict=True):
            by_class[label].add(unit)
        classes = [by_class[label] for label in sorted(by_class)]
        shares = [max(size, 1)] * len(classes)
        if train.keys.labels is not None:
            shares = apportion(size, [len(own) for own in classes])
        chosen = {u for own, n in zip(classes, shares, strict=True) for u in nsmallest(n, own)}
        held_out = {i for i, unit in zip(train.positions, units, strict=True) if unit in chosen}
        self.notes.append(f"{name}: {len(held_out)} rows carved from train by hash")
        self.parts[name] = replace(train, positions=sorted(held_out))
        rest = [i for i in train.positions if i not in held_out]
        self.parts["train"] = replace(train, positions=rest)
        self.give_way("train", name)

    def limit(self, name: str, rows: int) -> None:
        """Leaves the rows with the smallest hashes."""
        keys, at = self.parts[name].keys, self.parts[name].positions
        first = sorted(at, key=lambda i: (keys.order[i], keys.content[i], i))[:rows]
        self._keep(name, sorted(first), "left out by the limit")

    def require_classes(self, label_names: Sequence[str], needed: int) -> None:
        counts = Counter(self.parts["train"].labels())
        short = [f"'{n}' has {counts[c]}" for c, n in enumerate(label_names) if counts[c] < needed]
        if short:
            raise UsageError(
                f"too few rows of a class in train: {', '.join(short[:5])}, needed {needed}",
                hint="Every class needs a row in train and in each split that is carved from it.",
            )

    def _keep(self, name: str, kept: list[int], why: str) -> None:
        """Leaves these rows and notes how many went."""
        part = self.parts[name]
        if removed := len(part.positions) - len(kept):
            self.notes.append(f"{name}: {removed} rows {why}")
            self.parts[name] = replace(part, positions=kept)
