"""Token rows with labels: which tokens a causal language model is asked to predict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from harness.errors import UsageError
from harness.kit.training.batching import EncodedRows

IGNORED = -100
"""The label of a token that is read but not predicted."""


@dataclass(frozen=True)
class LabelledRows:
    """Tokenised rows and, for each, its labels: the token itself, or `IGNORED`.

    labels: one int array [length] a row, in the places of the tokens (not shifted).
    """

    rows: EncodedRows
    labels: tuple[np.ndarray, ...]

    def __post_init__(self) -> None:
        if len(self.rows) != len(self.labels):
            raise UsageError(f"{len(self.rows)} rows with {len(self.labels)} rows of labels")
        for row, (ids, labels) in enumerate(zip(self.rows.ids, self.labels, strict=True)):
            if len(ids) != len(labels) or not len(ids):
                raise UsageError(f"row {row} has {len(ids)} tokens and {len(labels)} labels")

    def __len__(self) -> int:
        return len(self.labels)

    def unlabelled(self) -> np.ndarray:
        """Indices of the rows that predict nothing; their mean loss is not a number.

        A prompt that fills the maximum length is the usual cause. A label on a row's first token
        does not count: nothing stands before it to predict it from.
        """
        empty = [bool((labels[1:] == IGNORED).all()) for labels in self.labels]
        return np.flatnonzero(empty)

    def batch(
        self, indices: Sequence[int] | np.ndarray, pad_id: int, device: torch.device | str
    ) -> dict[str, Tensor]:
        """Model inputs as by `EncodedRows.pad`, and `targets`, [len(indices), k].

        Target j of a row is the token after input position longest - k + j, or `IGNORED`; k is
        the least that holds all targets, so that no logits of a common prompt are needed.
        """
        inputs = self.rows.pad(indices, pad_id, device)
        longest = inputs["input_ids"].shape[1]
        targets = np.full((len(indices), longest), IGNORED, dtype=np.int64)
        for line, index in zip(targets, indices, strict=True):
            labels = self.labels[index]
            start = longest - len(labels) if self.rows.side == "left" else 0
            line[start : start + len(labels) - 1] = labels[1:]
        wanted = np.flatnonzero((targets != IGNORED).any(0))
        first = int(wanted[0]) if len(wanted) else longest - 1
        kept = torch.from_numpy(np.ascontiguousarray(targets[:, first:])).to(device)
        return {**inputs, "targets": kept}
