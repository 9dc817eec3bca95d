"""Tokenizers of the text tower: where the end is, what is cut, and what a vocabulary holds."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.kit.clip.tokens import (
    ClipTokenizer,
    StandardTokenizer,
    WordTokenizer,
    learn_words,
    read_tokenizer,
    split_words,
)

WORDS = WordTokenizer(("a", "red", "car"), context_length=6)
KINDS = pytest.mark.parametrize("tokenizer", [WORDS, StandardTokenizer(6)], ids=["words", "bpe"])


def test_a_row_is_start_words_end_and_pads() -> None:
    assert WORDS.encode(["A red truck"]).tolist() == [[3, 4, 5, 1, 7, 0]]
    assert WORDS.vocabulary_size == 8


def test_the_standard_tokenizer_is_open_clips() -> None:
    import open_clip

    texts = ["a photo of a Cat.", "", "x " * 100]
    expected = open_clip.get_tokenizer("ViT-B-32")(texts).numpy()
    assert np.array_equal(StandardTokenizer().encode(texts), expected)
    assert StandardTokenizer().vocabulary_size == 49408


@KINDS
@settings(max_examples=30, deadline=None)
@given(text=st.text(max_size=40))
def test_the_end_is_the_largest_number_of_every_row_even_of_a_cut_one(
    tokenizer: ClipTokenizer, text: str
) -> None:
    row = tokenizer.encode([text])[0]
    assert row.shape == (6,)
    assert row[0] == tokenizer.start_id
    assert row.max() == tokenizer.end_id == tokenizer.vocabulary_size - 1
    assert (row[row.argmax() + 1 :] == tokenizer.pad_id).all()


@KINDS
def test_a_tokenizer_comes_back_from_json(tokenizer: ClipTokenizer) -> None:
    assert read_tokenizer(tokenizer.to_json()) == tokenizer


def test_a_hidden_word_never_outranks_the_end() -> None:
    assert WORDS.mask_id < WORDS.end_id
    assert WORDS.mask_id not in WORDS.encode(["[MASK] mask a red car"])


def test_a_vocabulary_is_the_most_frequent_words_whatever_the_order_of_the_texts() -> None:
    texts = ["red car", "red bus", "blue car", "red van 12"]
    shuffled = random.Random(3).sample(texts, len(texts))
    assert learn_words(texts, 5 + 4) == ("red", "car", "1", "2") == learn_words(shuffled, 9)
    assert learn_words(texts, 5) == ()


def test_words_are_letters_single_digits_and_signs() -> None:
    assert split_words("A ①0-ton Käse_brot, isn't") == [
        "a", "1", "0", "-", "ton", "käse", "_", "brot", ",", "isn", "'", "t",
    ]  # fmt: skip
