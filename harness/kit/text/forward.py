"""Forward passes over ragged rows: packed where the family allows, else grouped by length."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from harness.kit.text.packing import (
    can_pack,
    pack_rows,
    packed_attention,
    packed_logits,
    position_offset,
)
from harness.kit.training.batching import EncodedRows, group_overhead, length_groups, token_limit

if TYPE_CHECKING:
    from transformers import PreTrainedModel

GROUP_ROWS = 64


class Forward(Protocol):
    """Computes the logits of rows, part by part."""

    def split(self, members: np.ndarray) -> list[np.ndarray]:
        """Cuts row indices into the parts that are computed at once."""

    def logits(self, members: np.ndarray) -> Tensor:
        """Logits of one part, [len(members), classes], in the order of `members`."""


@dataclass(frozen=True)
class PaddedForward:
    """Any family: groups of rows of similar length, each padded to its longest row."""

    model: PreTrainedModel
    rows: EncodedRows
    pad_id: int
    device: torch.device

    def split(self, members: np.ndarray) -> list[np.ndarray]:
        groups = length_groups(
            self.rows.lengths[members],
            GROUP_ROWS,
            overhead=group_overhead(self.device),
            max_tokens=token_limit(self.device),
        )
        return [members[group] for group in groups]

    def logits(self, members: np.ndarray) -> Tensor:
        return self.model(**self.rows.pad(members, self.pad_id, self.device)).logits


@dataclass(frozen=True)
class PackedForward:
    """BERT and RoBERTa: rows end to end, no padding outside attention."""

    model: PreTrainedModel
    rows: EncodedRows
    device: torch.device

    def split(self, members: np.ndarray) -> list[np.ndarray]:
        lengths = self.rows.lengths[members]
        order = np.argsort(-lengths, kind="stable")
        # The part that a row falls into is the number of whole limits that lie before its end.
        part = (np.cumsum(lengths[order]) - 1) // token_limit(self.device)
        edges = np.flatnonzero(np.diff(part)) + 1
        return [members[piece] for piece in np.split(order, edges)]

    def logits(self, members: np.ndarray) -> Tensor:
        pack, order = pack_rows(
            self.rows,
            members,
            offset=position_offset(self.model),
            overhead=group_overhead(self.device),
            device=self.device,
        )
        inverse = torch.from_numpy(np.argsort(order)).to(self.device)
        return packed_logits(self.model, pack)[inverse]


@contextmanager
def forward_pass(
    model: PreTrainedModel, rows: EncodedRows, pad_id: int, device: torch.device
) -> Iterator[Forward]:
    """The cheapest exact way to run `model` on `rows`, valid inside the block."""
    if not can_pack(model):
        yield PaddedForward(model, rows, pad_id, device)
        return
    with packed_attention(model):
        yield PackedForward(model, rows, device)
