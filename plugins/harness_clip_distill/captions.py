"""Replayable caption augmentation: words left out."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from harness.kit.counter_hash import random_words, stream_key

VERSION = 1
"""Raised when a caption comes out differently."""
DROPPED = 0.3
_WORDS = 2**20


def shortened_captions(captions: Sequence[str], number: int) -> list[str]:
    """Caption `number` of each row: 0 is the row's own, the others lack each word with
    probability `DROPPED`, and keep one at least.

    They depend on a row's place and the number alone, so a teacher's embeddings of them can be
    stored. They stand in for the captions that MobileCLIP has a model write.
    """
    if number == 0:
        return list(captions)
    key = stream_key("shortened captions", number)
    shortened = []
    for row, caption in enumerate(captions):
        words = caption.split()
        drawn = random_words(key, row * _WORDS + torch.arange(len(words)))
        left_out = ((drawn >> 11) & (2**53 - 1)).double() / 2**53 < DROPPED
        kept = [word for word, gone in zip(words, left_out.tolist(), strict=True) if not gone]
        shortened.append(" ".join(kept or words[:1]))
    return shortened
