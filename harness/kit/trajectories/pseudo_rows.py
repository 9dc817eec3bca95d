"""Token rows of which some positions are learned vectors, fed to a model as embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from harness.errors import UsageError
from harness.kit.training.batching import EncodedRows
from harness.kit.trajectories.inner_loop.flat_module import FlatModule

EMBEDDINGS = "embeddings"
"""The name of the learned vectors among what is learned."""


@dataclass(frozen=True)
class PseudoRows:
    """m rows; their ids count where a position is not learned.

    learned: for each row a bool array, which of its positions are; a start token, a template and
    a response are not.
    """

    rows: EncodedRows
    learned: tuple[np.ndarray, ...]
    pad_id: int
    device: torch.device

    def __post_init__(self) -> None:
        if self.rows.side != "right":
            raise UsageError("learned rows are padded on the right; the model's family pads left")
        sizes = [len(mask) for mask in self.learned]
        if sizes != self.rows.lengths.tolist():
            raise UsageError("each row needs one mark a token, learned or not")
        empty = [row for row, mask in enumerate(self.learned) if not mask.any()]
        if empty:
            raise UsageError(
                f"row {empty[0]} has no position to learn",
                hint="Raise max_length, or leave rows with an empty prompt out.",
            )

    def __len__(self) -> int:
        return len(self.learned)

    @cached_property
    def ids(self) -> Tensor:
        """[m, longest] token ids, padded."""
        return self.rows.pad(np.arange(len(self)), self.pad_id, self.device)["input_ids"]

    @cached_property
    def mask(self) -> Tensor:
        """[m, longest] bool, the learned positions."""
        marks = np.zeros((len(self), int(self.rows.lengths.max())), dtype=bool)
        for line, mask in zip(marks, self.learned, strict=True):
            line[: len(mask)] = mask
        return torch.from_numpy(marks).to(self.device)

    def initial(self, view: FlatModule) -> Tensor:
        """[m, longest, d] the embeddings of the rows' own ids; zero where nothing is learned."""
        with torch.no_grad():
            found = embedded_ids(view, view.start(), self.ids)
        return torch.where(self.mask.unsqueeze(-1), found, 0.0)

    def embedded(self, view: FlatModule, flat: Tensor, vectors: Tensor, members: Tensor) -> Tensor:
        """[b, longest of them, d] what the model is given of the rows `members`.

        vectors: [b, longest of all, d] their learned vectors; positions that are not learned get
        the embedding of their id at the parameters `flat`, and give no gradient to `vectors`.
        """
        longest = int(self.rows.lengths[members.cpu().numpy()].max())
        fixed = embedded_ids(view, flat, self.ids[members, :longest])
        return torch.where(self.mask[members, :longest, None], vectors[:, :longest], fixed)


def embedded_ids(view: FlatModule, flat: Tensor, ids: Tensor) -> Tensor:
    """[..., d] the input embeddings of ids, by the table at the parameters `flat`."""
    embedding = input_embedding(view)
    weight = view.parameter(embedding.weight, flat)
    return functional_call(embedding, {"weight": weight}, (ids,))


def input_embedding(view: FlatModule) -> nn.Embedding:
    """The module that turns ids into vectors."""
    return view.module.get_input_embeddings()
