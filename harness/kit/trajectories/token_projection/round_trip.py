"""Prompts as ids of one tokenizer, and what is left of them after they were text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.errors import UsageError
from harness.kit.trajectories.token_projection.allowed import tokenizer_digest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class TokenPrompts:
    """ids: of each prompt, without start or end tokens; tokenizer: digest of theirs."""

    ids: tuple[np.ndarray, ...]
    tokenizer: str

    @classmethod
    def of(
        cls, ids: Sequence[Sequence[int] | np.ndarray], tokenizer: PreTrainedTokenizerFast
    ) -> TokenPrompts:
        """Ids that a tokenizer's vocabulary gave.

        Raises:
            UsageError: an id is not in it.
        """
        arrays = tuple(np.asarray(row, dtype=np.int64) for row in ids)
        size = len(tokenizer)
        for prompt, row in enumerate(arrays):
            if len(row) and not (row.min() >= 0 and row.max() < size):
                raise UsageError(f"prompt {prompt} has ids outside of 0 to {size - 1}")
        return cls(arrays, tokenizer_digest(tokenizer))

    def texts(self, tokenizer: PreTrainedTokenizerFast) -> list[str]:
        """The prompts as text, which is what another model may be given.

        Raises:
            UsageError: the ids belong to another tokenizer.
        """
        self.require(tokenizer)
        rows = [row.tolist() for row in self.ids]
        return list(tokenizer.batch_decode(rows, clean_up_tokenization_spaces=False))

    def require(self, tokenizer: PreTrainedTokenizerFast) -> None:
        """Raises UsageError when the ids belong to another tokenizer."""
        if tokenizer_digest(tokenizer) != self.tokenizer:
            raise UsageError(
                "these token ids belong to another tokenizer, in which they mean other words",
                hint="Give the other model the prompts as text.",
            )


@dataclass(frozen=True)
class RoundTrip:
    """What decoding and encoding again makes of prompts.

    texts: of the prompts; ids: of the texts, encoded again; drift: [m] the share of a prompt's
    tokens that changed: 1 - common / longer, where `common` is the length of the longest common
    subsequence of both and `longer` the longer one's length.
    """

    texts: tuple[str, ...]
    ids: tuple[np.ndarray, ...]
    drift: np.ndarray

    @property
    def mean_drift(self) -> float:
        """Over prompts."""
        return float(self.drift.mean())


def round_trip(prompts: TokenPrompts, tokenizer: PreTrainedTokenizerFast) -> RoundTrip:
    """Decodes prompts and encodes their texts, without start or end tokens.

    Raises:
        UsageError: the ids belong to another tokenizer, or there are none.
    """
    if not prompts.ids:
        raise UsageError("there are no prompts to decode")
    texts = prompts.texts(tokenizer)
    encoded = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
    again = tuple(np.asarray(row, dtype=np.int64) for row in encoded)
    drift = [
        token_drift(row.tolist(), new.tolist()) for row, new in zip(prompts.ids, again, strict=True)
    ]
    return RoundTrip(tuple(texts), again, np.array(drift))


def token_drift(before: Sequence[int], after: Sequence[int]) -> float:
    """The share of a row's tokens that changed, see `RoundTrip`; 0 for two empty rows."""
    longer = max(len(before), len(after))
    return 1 - common_subsequence(before, after) / longer if longer else 0.0


def common_subsequence(one: Sequence[int], other: Sequence[int]) -> int:
    """The length of the longest common subsequence, by bits of one integer a row.

    Hyyrö, "Bit-parallel LCS-length computation revisited", AWOCA 2004, algorithm 3: a zero bit
    of the row is a place of `one` where the length grows by one.
    """
    places: dict[int, int] = {}
    for place, token in enumerate(one):
        places[token] = places.get(token, 0) | 1 << place
    ones = (1 << len(one)) - 1
    row = ones
    for token in other:
        matched = row & places.get(token, 0)
        row = ((row + matched) | (row - matched)) & ones
    return len(one) - row.bit_count()
