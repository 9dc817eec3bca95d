"""Pool and target as distinct, readable token rows."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from harness.context import StageContext
from harness.data.texts import pairs_of
from harness.errors import UsageError
from harness.kit.language.encoding import InstructionEncoder, Pairs
from harness.kit.language.labelled_rows import LabelledRows
from harness.kit.language.training import take
from harness.kit.training.batching import EncodedRows
from harness.types import SUBTASK_COLUMN, TaskData

WHOLE_TARGET = "target"
_PAIRS_AT_ONCE = 512


@dataclass(frozen=True)
class ReadableRows:
    """The rows that have a token to learn from within the length.

    encoded: in the order of `positions`; positions: where they stand among all `total` rows.
    """

    encoded: LabelledRows
    positions: np.ndarray
    total: int


@dataclass(frozen=True)
class DistinctRows:
    """Rows with different tokens or labels, in an order that their content alone decides.

    So equal rows get equal scores, to the last bit, and the order of the pool changes none.

    encoded: m rows; place: [n] which of them each row of the pool is, -1 for one that cannot be
    read.
    """

    encoded: LabelledRows
    place: np.ndarray

    @classmethod
    def of(cls, readable: ReadableRows) -> DistinctRows:
        encoded = readable.encoded
        keys = [
            (len(ids), ids.astype("<i8").tobytes(), labels.astype("<i8").tobytes())
            for ids, labels in zip(encoded.rows.ids, encoded.labels, strict=True)
        ]
        first = {key: number for number, key in reversed(list(enumerate(keys)))}
        ordered = sorted(first)
        rank = {key: number for number, key in enumerate(ordered)}
        place = np.full(readable.total, -1, dtype=np.int64)
        place[readable.positions] = [rank[key] for key in keys]
        return cls(take(encoded, np.array([first[key] for key in ordered])), place)

    def __len__(self) -> int:
        return len(self.encoded)

    @cached_property
    def digest(self) -> str:
        """A hash of all distinct rows, labels included."""
        state = hashlib.sha256(self.encoded.rows.lengths.astype("<i8").tobytes())
        for ids, labels in zip(self.encoded.rows.ids, self.encoded.labels, strict=True):
            state.update(ids.astype("<i8").tobytes() + labels.astype("<i8").tobytes())
        return state.hexdigest()

    def spread(self, values: np.ndarray, unreadable: float) -> np.ndarray:
        """[n] from [m]: the value of each row of the pool, `unreadable` where it has none."""
        return np.where(self.place < 0, unreadable, values[self.place])


@dataclass(frozen=True)
class Target:
    """Examples of what a student should be good at.

    subtasks: which of the rows belong to each; excluded: examples drawn that cannot be read.
    """

    encoded: LabelledRows
    subtasks: dict[str, list[int]]
    excluded: int


def readable_rows(
    encoder: InstructionEncoder, pairs: Pairs, context: StageContext, description: str
) -> ReadableRows:
    """Encodes what can be; a completion longer than a row, or without a token, is left out.

    Raises:
        UsageError: no row can be read; the reason of the first.
    """
    ids: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    kept: list[int] = []
    first_error: UsageError | None = None
    starts = range(0, len(pairs), _PAIRS_AT_ONCE)
    for start in context.track(starts, description, total=len(starts)):
        position = start
        for part in _encoded_parts(encoder, pairs[start : start + _PAIRS_AT_ONCE]):
            if isinstance(part, UsageError):
                first_error = first_error or part
                position += 1
                continue
            silent = set(part.unlabelled().tolist())
            for row in range(len(part)):
                if row not in silent:
                    ids.append(part.rows.ids[row])
                    labels.append(part.labels[row])
                    kept.append(position + row)
            position += len(part)
    if not kept:
        raise first_error or UsageError("no row has a token to learn from")
    rows = LabelledRows(EncodedRows(tuple(ids)), tuple(labels))
    return ReadableRows(rows, np.array(kept, dtype=np.int64), len(pairs))


def read_pool(
    encoder: InstructionEncoder, task: TaskData, considered: np.ndarray, context: StageContext
) -> ReadableRows:
    """The rows of the train split that are considered.

    considered: [k] their positions, ascending.
    """
    pairs = _pairs(task, "train", considered)
    found = readable_rows(encoder, pairs, context, "reading the pool")
    return ReadableRows(found.encoded, considered[found.positions], len(task.train))


def read_target(
    encoder: InstructionEncoder, task: TaskData, count: int, context: StageContext
) -> Target:
    """`count` examples of each subtask of validation, fewer where there are no more; all when 0.

    Raises:
        UsageError: no example of a subtask can be read.
    """
    drawn = draw_examples(_subtasks(task), count, context.numpy_generator("less target"))
    chosen = np.sort(np.concatenate(list(drawn.values())))
    pairs = _pairs(task, "validation", chosen)
    readable = readable_rows(encoder, pairs, context, "reading the target")
    place = {int(chosen[p]): number for number, p in enumerate(readable.positions)}
    subtasks = {
        name: [place[int(row)] for row in rows if int(row) in place] for name, rows in drawn.items()
    }
    empty = [name for name, rows in subtasks.items() if not rows]
    if empty:
        raise UsageError(
            f"none of the {len(drawn[empty[0]])} examples of subtask '{empty[0]}' can be read",
            hint="Raise max_length.",
        )
    return Target(readable.encoded, subtasks, readable.total - len(readable.positions))


def draw_examples(
    subtasks: Sequence[str], count: int, generator: np.random.Generator
) -> dict[str, np.ndarray]:
    """`count` rows of each subtask, in ascending order; all when 0 or when it has no more.

    subtasks: of each row.
    """
    names = np.asarray(subtasks)
    drawn = {}
    for name in sorted(set(subtasks)):
        own = np.flatnonzero(names == name)
        some = generator.permutation(own)[: count or None]
        drawn[name] = np.sort(some)
    return drawn


def _subtasks(task: TaskData) -> list[str]:
    if SUBTASK_COLUMN in task.scoring_columns:
        return [str(name) for name in task.validation[SUBTASK_COLUMN][:]]
    return [WHOLE_TARGET] * len(task.validation)


def _pairs(task: TaskData, split: str, chosen: np.ndarray | None) -> Pairs:
    rows = task.splits[split]  # type: ignore[index]
    if chosen is not None:
        rows = rows.select(chosen)
    return pairs_of(rows)


def _encoded_parts(encoder: InstructionEncoder, pairs: Pairs) -> list[LabelledRows | UsageError]:
    """The rows in order, in parts; the error in place of each row that cannot be encoded."""
    try:
        return [encoder.encode(pairs, end=True)]
    except UsageError as error:
        if len(pairs) == 1:
            return [error]
    half = len(pairs) // 2
    return [*_encoded_parts(encoder, pairs[:half]), *_encoded_parts(encoder, pairs[half:])]
