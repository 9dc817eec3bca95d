"""WordPiece vocabularies learnt from a task's own texts, reproducibly.

The trainer of the `tokenizers` library breaks ties by hash order, so two runs may give two
vocabularies; here ties are broken by the text of the pair.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

PAD, UNKNOWN, START, SEPARATOR, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
SPECIAL = (PAD, UNKNOWN, START, SEPARATOR, MASK)
CONTINUATION = "##"
MOST_WORDS = 30_000

Pair = tuple[str, str]


def count_words(texts: Iterable[str]) -> Counter[str]:
    """How often each word occurs, after BERT's lower-casing and splitting at punctuation."""
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer

    normalizer, splitter = BertNormalizer(), BertPreTokenizer()
    counts: Counter[str] = Counter()
    for text in texts:
        words = splitter.pre_tokenize_str(normalizer.normalize_str(text))
        counts.update(word for word, _ in words)
    return counts


def learn_vocabulary(words: Counter[str], size: int) -> list[str]:
    """At most `size` tokens: the special ones, the characters, then the most frequent merges.

    Byte-pair merging (Sennrich, Haddow and Birch 2016, section 3.2) over the most frequent words,
    with the pieces inside a word marked by `##`. Of pairs that occur equally often the first in
    alphabetical order is merged first; a pair that occurs once is not merged.
    """
    frequent = sorted(words.items(), key=lambda item: (-item[1], item[0]))[:MOST_WORDS]
    pieces = [_characters(word) for word, _ in frequent]
    counts = [count for _, count in frequent]
    vocabulary = [*SPECIAL, *_alphabet(pieces, counts, size - len(SPECIAL))]
    known = set(vocabulary)
    merger = _PairIndex(pieces, counts)
    while len(vocabulary) < size:
        pair = merger.most_frequent()
        if pair is None:
            break
        token = merger.merge(pair)
        if token not in known:
            known.add(token)
            vocabulary.append(token)
    return vocabulary


def wordpiece_tokenizer(vocabulary: Sequence[str], max_length: int) -> PreTrainedTokenizerFast:
    """A tokenizer with BERT's normalisation and `[CLS] a [SEP] b [SEP]` over a vocabulary."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=_pipeline(vocabulary),
        model_max_length=max_length,
        pad_token=PAD,
        unk_token=UNKNOWN,
        cls_token=START,
        sep_token=SEPARATOR,
        mask_token=MASK,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def _pipeline(vocabulary: Sequence[str]) -> Tokenizer:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    ids = {token: index for index, token in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix=CONTINUATION)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {SEPARATOR}",
        pair=f"{START} $A {SEPARATOR} $B:1 {SEPARATOR}:1",
        special_tokens=[(START, ids[START]), (SEPARATOR, ids[SEPARATOR])],
    )
    return tokenizer


def _characters(word: str) -> list[str]:
    return [word[0], *(CONTINUATION + character for character in word[1:])]


def _alphabet(words: list[list[str]], counts: list[int], most: int) -> list[str]:
    totals: Counter[str] = Counter()
    for word, count in zip(words, counts, strict=True):
        for piece in word:
            totals[piece] += count
    return sorted(sorted(totals, key=lambda piece: (-totals[piece], piece))[:most])


class _PairIndex:
    """Counts of neighbouring pieces over all words, kept up to date while pairs are merged."""

    def __init__(self, words: list[list[str]], counts: list[int]) -> None:
        self._words = words
        self._counts = counts
        self._totals: Counter[Pair] = Counter()
        self._where: defaultdict[Pair, set[int]] = defaultdict(set)
        for index, word in enumerate(words):
            self._add(index, word, counts[index])
        self._heap = [(-total, pair) for pair, total in self._totals.items()]
        heapq.heapify(self._heap)

    def most_frequent(self) -> Pair | None:
        """The pair to merge next, None when none occurs twice."""
        while self._heap:
            negative, pair = self._heap[0]
            total = self._totals[pair]
            if total == -negative:
                return pair if total > 1 else None
            # The count changed since this entry was made; a newer entry may stand for the pair.
            heapq.heappop(self._heap)
        return None

    def merge(self, pair: Pair) -> str:
        """Joins the pair wherever it occurs; returns the new piece."""
        token = pair[0] + pair[1].removeprefix(CONTINUATION)
        changed: set[Pair] = set()
        for index in self._where.pop(pair):
            count = self._counts[index]
            old = self._words[index]
            new = _joined(old, pair, token)
            changed.update(self._add(index, old, -count), self._add(index, new, count))
            self._words[index] = new
        for neighbour in changed:
            if self._totals[neighbour] > 0:
                heapq.heappush(self._heap, (-self._totals[neighbour], neighbour))
        return token

    def _add(self, index: int, word: list[str], count: int) -> set[Pair]:
        pairs = list(pairwise(word))
        for pair in pairs:
            self._totals[pair] += count
            if count > 0:
                self._where[pair].add(index)
        return set(pairs)


def _joined(word: list[str], pair: Pair, token: str) -> list[str]:
    joined: list[str] = []
    position = 0
    while position < len(word):
        if tuple(word[position : position + 2]) == pair:
            joined.append(token)
            position += 2
        else:
            joined.append(word[position])
            position += 1
    return joined
