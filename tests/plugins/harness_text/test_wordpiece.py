"""A vocabulary learnt from a task's texts, and the tokenizer over it."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from harness_text.wordpiece import (
    SPECIAL,
    count_words,
    learn_vocabulary,
    wordpiece_tokenizer,
)

words_with_counts = st.dictionaries(
    st.text("abc", min_size=1, max_size=6), st.integers(1, 5), min_size=1, max_size=12
).map(Counter)


def merges_by_recount(words: Counter[str], size: int) -> list[str]:
    """Counts every pair anew before each merge."""
    pieces = {word: [word[0], *("##" + c for c in word[1:])] for word in words}
    vocabulary = [*SPECIAL, *sorted({piece for word in pieces.values() for piece in word})]
    while len(vocabulary) < size:
        totals: Counter[tuple[str, str]] = Counter()
        for word, parts in pieces.items():
            for pair in pairwise(parts):
                totals[pair] += words[word]
        if not totals:
            break
        pair = min(totals, key=lambda p: (-totals[p], p))
        if totals[pair] < 2:
            break
        token = pair[0] + pair[1].removeprefix("##")
        for parts in pieces.values():
            position = 0
            while position < len(parts) - 1:
                if (parts[position], parts[position + 1]) == pair:
                    parts[position : position + 2] = [token]
                position += 1
        if token not in vocabulary:
            vocabulary.append(token)
    return vocabulary


@settings(max_examples=200, deadline=None)
@given(words_with_counts, st.integers(8, 40))
def test_merges_are_those_of_a_full_recount(words: Counter[str], size: int) -> None:
    alphabet = len({("##" if i else "") + c for word in words for i, c in enumerate(word)})
    size = max(size, len(SPECIAL) + alphabet)
    assert learn_vocabulary(words, size) == merges_by_recount(words, size)


def test_the_order_of_the_texts_changes_nothing() -> None:
    texts = ["the cat sat", "the mat", "a cat", "cats on mats"] * 3
    shuffled = random.Random(0).sample(texts, len(texts))
    assert learn_vocabulary(count_words(texts), 60) == learn_vocabulary(count_words(shuffled), 60)


def test_keeps_the_most_frequent_characters_when_there_is_no_room_for_all() -> None:
    vocabulary = learn_vocabulary(Counter({"a": 5, "b": 9, "c": 1}), len(SPECIAL) + 2)
    assert vocabulary == [*SPECIAL, "a", "b"]


def test_words_are_lower_cased_and_split_at_punctuation() -> None:
    assert count_words(["Hide, hide!"]) == Counter({"hide": 2, ",": 1, "!": 1})


def test_the_tokenizer_marks_pairs_and_unknown_words() -> None:
    vocabulary = learn_vocabulary(Counter({"cat": 4, "cats": 3, "mat": 4}), 40)
    tokenizer = wordpiece_tokenizer(vocabulary, max_length=16)
    encoded = tokenizer("Cats", "zoo cat")
    assert tokenizer.convert_ids_to_tokens(encoded["input_ids"]) == [
        "[CLS]", "cats", "[SEP]", "[UNK]", "cat", "[SEP]",
    ]  # fmt: skip
    assert encoded["token_type_ids"] == [0, 0, 0, 1, 1, 1]
    assert tokenizer.pad_token_id == 0
    assert tokenizer.model_max_length == 16
