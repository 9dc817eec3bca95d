"""The rows read to score continuations: prompts that several share are read once.

The choices of a question follow the same prompt. Read one by one they repeat it; here the prompt
is read once, with all its continuations behind it as branches: a token of a branch sees the prompt
and its own branch, and counts its position from the prompt's end, so it cannot tell that there are
others. The last token of a continuation predicts nothing and is not read at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.kit.language.labelled_rows import IGNORED, LabelledRows
from harness.kit.training.batching import EncodedRows

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TRUNK = 0
MOST_TOKENS = 1024
"""Tokens of a row with several branches: its mask has the square of that."""

_BRANCHING = ("gpt2", "gpt_neox", "llama", "opt", "qwen2", "qwen3")


@dataclass(frozen=True)
class Readings:
    """Rows to read, and where in them each request finds its tokens predicted.

    rows: the token ids; positions: each token's position number; branches: 0 for a prompt's
    tokens, k for those of its k-th continuation.
    owners: [n] which row a request reads; places: per request the indices, in that row, of the
    tokens that predict; targets: per request the tokens that they should predict.
    """

    rows: EncodedRows
    positions: tuple[np.ndarray, ...]
    branches: tuple[np.ndarray, ...]
    owners: np.ndarray
    places: tuple[np.ndarray, ...]
    targets: tuple[np.ndarray, ...]

    @property
    def branched(self) -> bool:
        """Whether any row has two branches; others are sequences as any model reads them."""
        return any(int(branches.max()) > 1 for branches in self.branches)

    def requests(self) -> list[np.ndarray]:
        """For each row, the requests that read it, in ascending order."""
        order = np.argsort(self.owners, kind="stable")
        return np.split(order, np.cumsum(np.bincount(self.owners, minlength=len(self.rows)))[:-1])


def can_branch(model: PreTrainedModel) -> bool:
    """Whether the family takes position numbers and a mask for every pair of tokens."""
    return model.config.model_type in _BRANCHING


def plan_readings(encoded: LabelledRows, *, branching: bool) -> Readings:
    """The readings for rows whose labels are one run of tokens at the end.

    branching: let the continuations of a prompt share a row; otherwise only those share one that
    need the same tokens.
    """
    starts = [int(np.argmax(labels != IGNORED)) for labels in encoded.labels]
    trunks: list[_Trunk] = []
    open_trunks: dict[bytes, _Trunk] = {}
    owners, places = [], []
    for row, start in enumerate(starts):
        ids = encoded.rows.ids[row]
        shared = ids[:start] if branching else ids[:-1]
        key, tail = shared.tobytes(), ids[start:-1]
        if key not in open_trunks or not open_trunks[key].has_room(tail):
            open_trunks[key] = _Trunk(len(trunks), shared)
            trunks.append(open_trunks[key])
        trunk = open_trunks[key]
        owners.append(trunk.number)
        places.append(trunk.grow(tail, start))
    built = [trunk.row() for trunk in trunks]
    ids_, positions, branches = zip(*built, strict=True)
    return Readings(
        rows=EncodedRows(ids_, side="right"),
        positions=positions,
        branches=branches,
        owners=np.array(owners, dtype=np.int64),
        places=tuple(places),
        targets=tuple(
            encoded.rows.ids[row][start:].astype(np.int64) for row, start in enumerate(starts)
        ),
    )


class _Trunk:
    """A prompt that continuations grow from."""

    def __init__(self, number: int, ids: np.ndarray) -> None:
        self.number = number
        self._ids = ids
        self._tails: list[np.ndarray] = []
        self._grown: dict[bytes, np.ndarray] = {}
        self._size = len(ids)

    def has_room(self, tail: np.ndarray) -> bool:
        """Whether a further continuation keeps the row from growing too long."""
        return not self._tails or self._size + len(tail) <= MOST_TOKENS

    def grow(self, tail: np.ndarray, start: int) -> np.ndarray:
        """Adds what must be read of a continuation; returns where its tokens are predicted.

        start: index of the continuation's first token in its own row; where the prompt itself
        reaches beyond, the tokens are predicted inside it.
        """
        inside = len(self._ids) - start
        if inside > 0 or len(tail) == 0:
            return np.arange(start - 1, start + len(tail))
        key = tail.tobytes()
        if key not in self._grown:
            first = self._size
            self._tails.append(tail)
            self._size += len(tail)
            self._grown[key] = np.concatenate([[start - 1], np.arange(first, self._size)])
        return self._grown[key]

    def row(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Token ids, position numbers and branches."""
        trunk = len(self._ids)
        lengths = [len(tail) for tail in self._tails]
        positions = [np.arange(trunk), *(trunk + np.arange(length) for length in lengths)]
        branches = np.repeat(np.arange(len(lengths) + 1), [trunk, *lengths])
        return np.concatenate([self._ids, *self._tails]), np.concatenate(positions), branches


def visible(branches: Sequence[np.ndarray], longest: int) -> np.ndarray:
    """[rows, longest, longest] whether token i sees token j: not ahead, in the trunk or its branch.

    Tokens of padding see themselves, so that nothing is divided by zero.
    """
    filled = np.full((len(branches), longest), -1)
    for line, row in zip(filled, branches, strict=True):
        line[: len(row)] = row
    reader, read = filled[:, :, None], filled[:, None, :]
    causal = np.tri(longest, dtype=bool)
    return causal & ((read == TRUNK) | (read == reader))
