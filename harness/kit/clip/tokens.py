"""Tokenizers of CLIP's text tower: the words of a task, or open_clip's byte pairs."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Protocol

import numpy as np

_WORD = re.compile(r"[^\W\d_]+|\d|[^\w\s]|_")
_RESERVED = 5


class ClipTokenizer(Protocol):
    """Texts as rows of equal length: start, tokens, end, pads; what is too long is cut.

    `end_id` is the largest number, since open_clip's text towers pool where the largest is.
    mask_id: stands for a hidden token; None where the vocabulary has none.
    """

    @property
    def context_length(self) -> int: ...
    @property
    def vocabulary_size(self) -> int: ...
    @property
    def start_id(self) -> int: ...
    @property
    def end_id(self) -> int: ...
    @property
    def pad_id(self) -> int: ...
    @property
    def mask_id(self) -> int | None: ...

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """[n, context_length] int64."""

    def to_json(self) -> dict[str, Any]:
        """What `read_tokenizer` makes the same tokenizer from."""


@dataclass(frozen=True)
class WordTokenizer:
    """A closed list of words, lower-cased, with single digits and signs as words of their own.

    Numbers: 0 pads, 1 is any other word, 2 hides a word, 3 starts, the words follow in the order
    of `words`, and the last number ends.
    """

    words: tuple[str, ...]
    context_length: int

    @property
    def vocabulary_size(self) -> int:
        return len(self.words) + _RESERVED

    @property
    def pad_id(self) -> int:
        return 0

    @property
    def unknown_id(self) -> int:
        return 1

    @property
    def mask_id(self) -> int:
        return 2

    @property
    def start_id(self) -> int:
        return 3

    @property
    def end_id(self) -> int:
        return self.vocabulary_size - 1

    @cached_property
    def _numbers(self) -> Mapping[str, int]:
        return {word: number for number, word in enumerate(self.words, start=_RESERVED - 1)}

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """[n, context_length] int64."""
        rows = np.full((len(texts), self.context_length), self.pad_id, dtype=np.int64)
        for row, text in zip(rows, texts, strict=True):
            found = [self._numbers.get(word, self.unknown_id) for word in split_words(text)]
            tokens = [self.start_id, *found[: self.context_length - 2], self.end_id]
            row[: len(tokens)] = tokens
        return rows

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": "words",
            "words": list(self.words),
            "context_length": self.context_length,
        }


@dataclass(frozen=True)
class StandardTokenizer:
    """The byte-pair vocabulary of the first CLIP (Radford et al. 2021), which open_clip bundles."""

    context_length: int = 77

    @property
    def vocabulary_size(self) -> int:
        return _byte_pairs().vocab_size

    @property
    def start_id(self) -> int:
        return _byte_pairs().sot_token_id

    @property
    def end_id(self) -> int:
        return _byte_pairs().eot_token_id

    @property
    def pad_id(self) -> int:
        return 0

    @property
    def mask_id(self) -> None:
        return None

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """[n, context_length] int64."""
        return _byte_pairs()(list(texts), context_length=self.context_length).numpy()

    def to_json(self) -> dict[str, Any]:
        return {"kind": "standard", "context_length": self.context_length}


def read_tokenizer(stored: Mapping[str, Any]) -> ClipTokenizer:
    """The tokenizer that `to_json` described."""
    if stored["kind"] == "words":
        return WordTokenizer(tuple(stored["words"]), stored["context_length"])
    return StandardTokenizer(stored["context_length"])


def split_words(text: str) -> list[str]:
    """Words of letters, single digits and single signs, lower-cased and in composed form."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).lower())


def learn_words(texts: Iterable[str], size: int) -> tuple[str, ...]:
    """The words for a vocabulary of at most `size` numbers: the most frequent, then alphabetical.

    The same texts in any order give the same words.
    """
    counts = Counter(word for text in texts for word in split_words(text))
    ordered = sorted(counts, key=lambda word: (-counts[word], word))
    return tuple(ordered[: max(0, size - _RESERVED)])


@lru_cache(maxsize=1)
def _byte_pairs() -> Any:
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer()
