"""From learned embeddings to tokens: the vocabulary, the projected rows, and what changed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from harness.kit.trajectories.proxies import LearnableRows, Proxy
from harness.kit.trajectories.pseudo_prompts import PseudoPrompts
from harness.kit.trajectories.pseudo_rows import embedded_ids
from harness.kit.trajectories.token_projection import (
    AllowedTokens,
    NearestTokens,
    allow_tokens,
    token_drift,
)


@dataclass(frozen=True)
class Vocabulary:
    """table: [v, d] the embeddings of all ids; allowed: those that may stand in a text."""

    table: Tensor
    allowed: AllowedTokens

    @property
    def mean_square(self) -> float:
        """The mean squared length of an allowed row: the unit of distances."""
        return float(self.table[self.allowed.ids.to(self.table.device)].square().sum(1).mean())


def read_vocabulary(proxy: Proxy) -> Vocabulary:
    """The embeddings of all ids, which nothing trains, and those that may stand in a text.

    Raises:
        UsageError: no token may.
    """
    view = proxy.view
    size = view.module.get_input_embeddings().num_embeddings
    with torch.no_grad():
        table = embedded_ids(view, view.start(), torch.arange(size, device=proxy.device))
    return Vocabulary(table, allow_tokens(proxy.tokenizer, size))


def without_blanks(
    proxy: Proxy, prompts: PseudoPrompts, ids: np.ndarray
) -> tuple[PseudoPrompts, int]:
    """The rows with other ids [k], but for those whose text would be blank; and how many."""
    words = prompts.with_learned_ids(ids)
    texts = proxy.texts(words)
    columns = [texts[name][:] for name in proxy.task.input_columns]
    blank = [any(not text.strip() for text in row) for row in zip(*columns, strict=True)]
    before, after = prompts.split(prompts.learned_ids), prompts.split(ids)
    kept = [old if b else new for old, new, b in zip(before, after, blank, strict=True)]
    return prompts.with_learned_ids(np.concatenate(kept)), sum(blank)


def neighbours(
    found: NearestTokens, prompts: PseudoPrompts, vocabulary: Vocabulary
) -> dict[str, float | int | str]:
    """How far the learned vectors are from words, and how many words are other than at first."""
    before = torch.from_numpy(prompts.learned_ids)
    unit = vocabulary.mean_square**0.5 if found.metric == "l2" else 1.0
    return {
        "neighbour_distance": found.mean_distance / unit,
        "changed_tokens": found.changed_share(before),
        "learned_tokens": len(before),
    }


def drift(words: PseudoPrompts, again: LearnableRows) -> float:
    """The mean share of a row's tokens that are others after it was text."""
    pairs = zip(words.rows.ids, again.pseudo.rows.ids, strict=True)
    return float(np.mean([token_drift(before.tolist(), after.tolist()) for before, after in pairs]))
