"""Byte-level BPE vocabularies learnt from texts, for models trained from scratch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def learn_bpe(
    texts: Iterable[str], size: int, special_tokens: Sequence[str], *, min_frequency: int = 0
) -> Tokenizer:
    """GPT-2's kind of tokenizer with at most `size` entries; every byte is one of them.

    The same texts give the same vocabulary: with the bytes given in order, pairs that occur
    equally often are merged in the order of their entries.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=min_frequency,
        special_tokens=list(special_tokens),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator((f" {text.strip()}" for text in texts), trainer)
    return tokenizer
