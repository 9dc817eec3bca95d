"""Logits of a causal language model at chosen tokens only, in batches of similar length.

Rows are padded on the right: no token looks ahead, so real tokens never see the padding, and
neither a mask nor position numbers are needed. The vocabulary's matrix, the largest of a small
model, is applied to the chosen tokens alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from harness.errors import HarnessError
from harness.kit.language.readings import Readings, visible
from harness.kit.training.batching import EncodedRows, group_overhead, length_groups, token_limit

if TYPE_CHECKING:
    from transformers import PreTrainedModel

GROUP_ROWS = 64
MOST_LOGITS = 1 << 28
"""Logits of one group, 1 GiB of float32, should every token of it be chosen."""


@dataclass(frozen=True)
class CausalForward:
    """Runs a model of the `AutoModelForCausalLM` family on parts of `rows`."""

    model: PreTrainedModel
    rows: EncodedRows
    pad_id: int
    device: torch.device

    def __post_init__(self) -> None:
        if self.rows.side != "right":
            raise HarnessError("a causal model reads rows that are padded on the right")

    def split(self, members: np.ndarray) -> list[np.ndarray]:
        """Cuts row indices into the parts that are computed at once."""
        vocabulary = self.model.get_output_embeddings().weight.shape[0]
        groups = length_groups(
            self.rows.lengths[members],
            GROUP_ROWS,
            overhead=group_overhead(self.device),
            max_tokens=min(token_limit(self.device), max(1, MOST_LOGITS // vocabulary)),
        )
        return [members[group] for group in groups]

    def logits(self, members: np.ndarray, rows: np.ndarray, positions: np.ndarray) -> Tensor:
        """[k, vocabulary] logits that follow the k tokens chosen.

        rows: [k] places in `members`; positions: [k] of the tokens in their rows.
        """
        inputs = self.inputs(members)
        longest = inputs["input_ids"].shape[1]
        chosen = torch.from_numpy(rows * longest + positions).to(self.device)
        with only_chosen(self.model, chosen):
            return self.model(**inputs, use_cache=False).logits[0]

    def inputs(self, members: np.ndarray) -> dict[str, Tensor]:
        """What the model is given of some rows."""
        return {"input_ids": self.rows.pad(members, self.pad_id, self.device)["input_ids"]}


@dataclass(frozen=True)
class BranchingForward(CausalForward):
    """The same for rows of which parts must not see one another; see
    `harness.kit.language.readings`."""

    readings: Readings

    def inputs(self, members: np.ndarray) -> dict[str, Tensor]:
        """Tokens, their position numbers, and a mask [rows, 1, longest, longest] that is added."""
        inputs = super().inputs(members)
        longest = inputs["input_ids"].shape[1]
        numbers = EncodedRows(tuple(self.readings.positions[m] for m in members))
        everything = np.arange(len(members))
        inputs["position_ids"] = numbers.pad(everything, 0, self.device)["input_ids"]
        seen = torch.from_numpy(visible([self.readings.branches[m] for m in members], longest))
        mask = torch.zeros(seen.shape, dtype=self.model.dtype)
        mask.masked_fill_(~seen, torch.finfo(mask.dtype).min)
        return {**inputs, "attention_mask": mask.unsqueeze(1).to(self.device)}


@contextmanager
def only_chosen(model: PreTrainedModel, chosen: Tensor) -> Iterator[None]:
    """Lets only the chosen tokens, counted over the batch, reach the vocabulary's matrix.

    The model's logits are [1, k, vocabulary] inside the block.
    """

    def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        hidden, *others = inputs
        return hidden.flatten(0, 1)[chosen].unsqueeze(0), *others

    hook = model.get_output_embeddings().register_forward_pre_hook(keep)
    try:
        yield
    finally:
        hook.remove()
