"""Demonstrations for in-context learning: which rows, and in which orders."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FILE = "demonstrations.jsonl"


@dataclass(frozen=True)
class Demonstrations:
    """Labelled rows to show.

    texts: of each row, by the task's columns; labels: their classes; orders: permutations of the
    rows, one for each prompt that a query is read behind.
    """

    texts: tuple[tuple[str, ...], ...]
    labels: tuple[int, ...]
    orders: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return len(self.texts)

    def save(self, folder: Path) -> None:
        """Writes one JSON object a row; `places` are where it stands in each order."""
        places = np.argsort(np.array(self.orders, dtype=np.int64), axis=1).T.tolist()
        rows = zip(self.texts, self.labels, places, strict=True)
        lines = [
            json.dumps({"texts": texts, "label": label, "places": where}, ensure_ascii=False)
            for texts, label, where in rows
        ]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILE).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Demonstrations:
        """Reads what `save` wrote."""
        content = (folder / FILE).read_text(encoding="utf-8")
        rows = [json.loads(line) for line in content.split("\n") if line]
        if not rows:
            return NONE
        places = np.array([row["places"] for row in rows])
        return cls(
            tuple(tuple(row["texts"]) for row in rows),
            tuple(int(row["label"]) for row in rows),
            tuple(map(tuple, np.argsort(places, axis=0).T.tolist())),
        )


NONE = Demonstrations((), (), ((),))
"""Zero shots: a query is all of its prompt."""


def draw_by_class(
    labels: np.ndarray, shots: int, generator: np.random.Generator
) -> list[np.ndarray]:
    """For each class that is there, up to `shots` of its rows in random order; 0 for all."""
    drawn = []
    for label in np.unique(labels):
        rows = generator.permutation(np.flatnonzero(labels == label))
        drawn.append(rows[:shots] if shots else rows)
    return drawn


def balanced_that_fit(
    by_class: Sequence[np.ndarray], length: Callable[[int], int], room: int
) -> list[np.ndarray]:
    """The first k rows of each class, for the largest k with which all fit; a class with fewer
    gives all that it has. Where the first of each do not fit, the shortest of each.

    Args:
        length: tokens of a row; asked of no more rows than it takes to know.
        room: tokens of all rows together.

    Returns:
        The rows of each class; none of any when not even the shortest fit.
    """
    count = total = 0
    for place in range(max(map(len, by_class), default=0)):
        total += sum(length(int(rows[place])) for rows in by_class if place < len(rows))
        if total > room:
            break
        count += 1
    if count:
        return [rows[:count] for rows in by_class]
    shortest = [min(rows.tolist(), key=length) for rows in by_class]
    fits = sum(map(length, shortest)) <= room
    return [np.array([row] if fits else [], dtype=np.int64) for row in shortest]
