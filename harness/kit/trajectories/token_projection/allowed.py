"""Which tokens may stand in a distilled text: those that are text by themselves."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from harness.errors import UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_REPLACEMENT = "\ufffd"
_BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")
_UNUSED = re.compile(r"[\[<].*(unused|reserved|extra_id|pad).*[\]>]|madeupword\d+", re.IGNORECASE)


@dataclass(frozen=True)
class AllowedTokens:
    """ids: [a] int64, ascending; vocabulary: rows of the table that they are places in."""

    ids: Tensor
    vocabulary: int

    def __post_init__(self) -> None:
        if not len(self.ids):
            raise UsageError(
                f"all {self.vocabulary} tokens of the vocabulary are forbidden, so no vector has a"
                " nearest one",
            )
        ascending = bool((self.ids[1:] > self.ids[:-1]).all())
        if not ascending or int(self.ids[0]) < 0 or int(self.ids[-1]) >= self.vocabulary:
            raise UsageError("allowed tokens should ascend within the vocabulary")


def allow_tokens(tokenizer: PreTrainedTokenizerFast, vocabulary: int) -> AllowedTokens:
    """The tokens that decode to text of their own.

    Not allowed: special and added tokens, rows of the table beyond the tokenizer, tokens whose
    name says that they are unused, bytes that are no character by themselves, and empty ones.

    Args:
        vocabulary: rows of the embedding table.

    Raises:
        UsageError: none is left.
    """
    known = min(vocabulary, len(tokenizer))
    refused = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    names = tokenizer.convert_ids_to_tokens(list(range(known)))
    candidates = [
        token
        for token, name in enumerate(names)
        if token not in refused
        and name is not None
        and not _BYTE.fullmatch(name)
        and not _UNUSED.fullmatch(name)
    ]
    batch = [[token] for token in candidates]
    texts = tokenizer.batch_decode(batch, clean_up_tokenization_spaces=False) if batch else []
    kept = [
        token
        for token, text in zip(candidates, texts, strict=True)
        if text and _REPLACEMENT not in text
    ]
    return AllowedTokens(torch.tensor(kept, dtype=torch.int64), vocabulary)
