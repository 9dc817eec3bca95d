"""Batches of ragged token rows, grouped by length so that little padding is computed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor

PaddingSide = Literal["left", "right"]

_CPU_OVERHEAD = 32
_ACCELERATOR_OVERHEAD = 2048
_CPU_TOKENS = 2048
_ACCELERATOR_TOKENS = 8192


@dataclass(frozen=True)
class EncodedRows:
    """Tokenised rows without padding.

    ids: one int array [length] a row; type_ids: segment of each token, for models that use them;
    side: where the model's family pads.
    """

    ids: tuple[np.ndarray, ...]
    type_ids: tuple[np.ndarray, ...] | None = None
    side: PaddingSide = "right"

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def lengths(self) -> np.ndarray:
        """[n] tokens of each row."""
        return np.fromiter((len(row) for row in self.ids), dtype=np.int64, count=len(self.ids))

    def take(self, indices: Sequence[int] | np.ndarray) -> EncodedRows:
        """The rows at `indices`, in that order."""
        types = self.type_ids
        return EncodedRows(
            ids=tuple(self.ids[i] for i in indices),
            type_ids=None if types is None else tuple(types[i] for i in indices),
            side=self.side,
        )

    def pad(
        self, indices: Sequence[int] | np.ndarray, pad_id: int, device: torch.device | str
    ) -> dict[str, Tensor]:
        """The model inputs of some rows, [len(indices), longest of them].

        `attention_mask` is left out when no row needs padding: models then take the faster
        attention without a mask.
        """
        lengths = self.lengths[indices]
        longest = int(lengths.max())
        inputs = {"input_ids": self._rectangle(self.ids, indices, longest, pad_id)}
        if self.type_ids is not None:
            inputs["token_type_ids"] = self._rectangle(self.type_ids, indices, longest, 0)
        if (lengths < longest).any():
            inputs["attention_mask"] = self._mask(lengths, longest)
        return {name: torch.from_numpy(array).to(device) for name, array in inputs.items()}

    def _mask(self, lengths: np.ndarray, longest: int) -> np.ndarray:
        positions = np.arange(longest)
        if self.side == "left":
            positions = positions[::-1]
        return (positions < lengths[:, None]).astype(np.int64)

    def _rectangle(
        self,
        rows: Sequence[np.ndarray],
        indices: Sequence[int] | np.ndarray,
        longest: int,
        fill: int,
    ) -> np.ndarray:
        padded = np.full((len(indices), longest), fill, dtype=np.int64)
        for line, index in zip(padded, indices, strict=True):
            row = rows[index]
            if self.side == "right":
                line[: len(row)] = row
            else:
                line[longest - len(row) :] = row
        return padded


def group_overhead(device: torch.device) -> int:
    """What one more group costs on a device, in tokens: mostly kernel starts and weight reads."""
    return _CPU_OVERHEAD if device.type == "cpu" else _ACCELERATOR_OVERHEAD


def token_limit(device: torch.device) -> int:
    """Tokens computed at once: enough to keep a device busy, few enough for its memory."""
    return _CPU_TOKENS if device.type == "cpu" else _ACCELERATOR_TOKENS


def length_groups(
    lengths: np.ndarray,
    max_rows: int,
    *,
    overhead: int,
    max_tokens: int | None = None,
) -> list[np.ndarray]:
    """Splits rows into groups of similar length at the least total cost.

    The cost of a group is `overhead + rows * longest`, in tokens; among all cuts of the
    length-sorted rows a dynamic programme, O(n * max_rows), finds the cheapest.

    Args:
        lengths: [n] tokens of each row.
        max_rows: most rows in a group.
        overhead: what one more group costs, as the number of tokens computed in that time.
        max_tokens: most tokens in a group, padding included; a longer row stands alone. None
            sets no limit.

    Returns:
        Index arrays that partition range(n), longest rows first.
    """
    order = np.argsort(lengths, kind="stable")
    ordered = lengths[order].astype(np.float64)
    best = np.zeros(len(order) + 1)
    start = np.zeros(len(order) + 1, dtype=np.int64)
    for end in range(1, len(order) + 1):
        longest = ordered[end - 1]
        most = min(max_rows, end)
        if max_tokens is not None:
            most = max(1, min(most, int(max_tokens // longest)))
        rows = np.arange(most, 0, -1)
        costs = best[end - most : end] + rows * longest
        cheapest = int(np.argmin(costs))
        best[end] = costs[cheapest] + overhead
        start[end] = end - most + cheapest
    groups = []
    end = len(order)
    while end > 0:
        groups.append(order[start[end] : end])
        end = int(start[end])
    return groups


def sample_batches(
    rows: int, batch_size: int, steps: int, generator: np.random.Generator
) -> Iterator[np.ndarray]:
    """`steps` batches of row indices from shuffled epochs that follow on without a gap.

    A batch may end one epoch and begin the next, so no row is ever dropped. A set no larger
    than `batch_size` is one batch, the same every step.
    """
    if rows <= batch_size:
        yield from (np.arange(rows) for _ in range(steps))
        return
    stream = np.empty(0, dtype=np.int64)
    for _ in range(steps):
        while len(stream) < batch_size:
            stream = np.concatenate([stream, generator.permutation(rows)])
        yield stream[:batch_size]
        stream = stream[batch_size:]
