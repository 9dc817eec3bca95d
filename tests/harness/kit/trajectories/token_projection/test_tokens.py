"""Allowed tokens, and what text and back changes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from causal_models import byte_tokenizer, sentence_piece_tokenizer
from harness.errors import UsageError
from harness.kit.trajectories.token_projection import allow_tokens, token_drift
from harness.kit.trajectories.token_projection.round_trip import common_subsequence


def named_tokens(*names: str) -> PreTrainedTokenizerFast:
    vocabulary = {name: place for place, name in enumerate(names)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=names[0]))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token=names[0])


class TestAllowed:
    @pytest.mark.parametrize("tokenizer", [byte_tokenizer(), sentence_piece_tokenizer()])
    def test_every_allowed_token_is_text_by_itself(
        self, tokenizer: PreTrainedTokenizerFast
    ) -> None:
        allowed = allow_tokens(tokenizer, len(tokenizer) + 7).ids.tolist()
        texts = [tokenizer.decode([token]) for token in allowed]
        assert all(text and "\ufffd" not in text for text in texts)
        assert not set(allowed) & set(tokenizer.all_special_ids)
        assert max(allowed) < len(tokenizer)
        left_out = set(range(len(tokenizer))) - {*allowed, *tokenizer.all_special_ids}
        unread = [tokenizer.decode([token]) for token in left_out]
        assert all(text == "" or "\ufffd" in text for text in unread)

    def test_fragments_of_characters_are_not_allowed(self) -> None:
        tokenizer = byte_tokenizer()
        fragments = tokenizer("€", add_special_tokens=False)["input_ids"]
        assert len(fragments) == 3
        assert not set(fragments) & set(allow_tokens(tokenizer, len(tokenizer)).ids.tolist())

    def test_unused_and_reserved_tokens_are_not_allowed(self) -> None:
        names = (
            "[UNK]", "[unused12]", "<|reserved_special_token_3|>", "<extra_id_0>", "<0x41>",
            "madeupword0001", "unused", "padding", "pad", "[", "word",
        )  # fmt: skip
        allowed = allow_tokens(named_tokens(*names), len(names)).ids.tolist()
        assert [names[token] for token in allowed] == ["unused", "padding", "pad", "[", "word"]

    def test_a_vocabulary_without_an_allowed_token_is_refused(self) -> None:
        with pytest.raises(UsageError, match="all 2 tokens of the vocabulary are forbidden"):
            allow_tokens(named_tokens("[UNK]", "[unused1]"), 2)


class TestDrift:
    @pytest.mark.parametrize("tokenizer", [byte_tokenizer(), sentence_piece_tokenizer()])
    def test_what_was_text_does_not_drift(self, tokenizer: PreTrainedTokenizerFast) -> None:
        for text in ("Question: what colour is snow?", "the answer"):
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            again = tokenizer(tokenizer.decode(ids), add_special_tokens=False)["input_ids"]
            assert token_drift(ids, again) == 0

    def test_tokens_that_merge_are_counted(self) -> None:
        """The letters of `colour` are fewer tokens once they are text; `q` stays."""
        tokenizer = byte_tokenizer()
        letters = [tokenizer.convert_tokens_to_ids(letter) for letter in "colourq"]
        again = tokenizer("colourq", add_special_tokens=False)["input_ids"]
        assert len(again) < len(letters)
        common = len(set(letters) & set(again))
        assert token_drift(letters, again) == 1 - common / 7

    def test_an_empty_prompt_does_not_drift(self) -> None:
        assert token_drift([], []) == 0

    @given(st.lists(st.integers(0, 3), max_size=9), st.lists(st.integers(0, 3), max_size=9))
    def test_the_longest_common_subsequence_is_that_of_the_table(
        self, one: list[int], other: list[int]
    ) -> None:
        table = np.zeros((len(one) + 1, len(other) + 1), dtype=int)
        for i, a in enumerate(one, 1):
            for j, b in enumerate(other, 1):
                longer = max(table[i - 1, j], table[i, j - 1])
                table[i, j] = table[i - 1, j - 1] + 1 if a == b else longer
        assert common_subsequence(one, other) == table[-1, -1]
