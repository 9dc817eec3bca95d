"""Allowed tokens, text and back, and what is written into a folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from causal_models import byte_tokenizer, sentence_piece_tokenizer
from harness.errors import HarnessError, UsageError
from harness.kit.trajectories.token_projection import (
    ExportedPrompts,
    TokenPrompts,
    allow_tokens,
    export_prompts,
    read_export,
    read_texts,
    round_trip,
    tokenizer_digest,
)
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

    def test_forbidden_tokens_are_honoured_until_none_is_left(self) -> None:
        tokenizer = named_tokens("[UNK]", "a", "b")
        assert allow_tokens(tokenizer, 3, forbidden=[1]).ids.tolist() == [2]
        with pytest.raises(UsageError, match="all 3 tokens of the vocabulary are forbidden"):
            allow_tokens(tokenizer, 3, forbidden=[1, 2])


class TestRoundTrip:
    @pytest.mark.parametrize("tokenizer", [byte_tokenizer(), sentence_piece_tokenizer()])
    def test_what_was_text_does_not_drift(self, tokenizer: PreTrainedTokenizerFast) -> None:
        texts = ["Question: what colour is snow?", "the answer"]
        prompts = TokenPrompts.of(
            [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts], tokenizer
        )
        found = round_trip(prompts, tokenizer)
        assert list(found.texts) == texts
        assert found.mean_drift == 0

    def test_tokens_that_merge_are_counted(self) -> None:
        """`w` and `hite` are one token once they are text; `q` stays."""
        tokenizer = byte_tokenizer()
        white = tokenizer("colour", add_special_tokens=False)["input_ids"]
        letters = [tokenizer.convert_tokens_to_ids(letter) for letter in "colourq"]
        again = tokenizer("colourq", add_special_tokens=False)["input_ids"]
        assert len(again) < len(letters)
        found = round_trip(TokenPrompts.of([letters, white], tokenizer), tokenizer)
        assert found.ids[0].tolist() == again
        common = len(set(letters) & set(again))
        assert found.drift.tolist() == [1 - common / 7, 0]
        assert found.mean_drift == pytest.approx((1 - common / 7) / 2)

    def test_an_empty_prompt_does_not_drift(self) -> None:
        tokenizer = byte_tokenizer()
        assert round_trip(TokenPrompts.of([[]], tokenizer), tokenizer).drift.tolist() == [0]
        with pytest.raises(UsageError, match="no prompts"):
            round_trip(TokenPrompts.of([], tokenizer), tokenizer)

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


class TestOtherTokenizers:
    def test_ids_of_another_tokenizer_are_refused_and_text_is_not(self) -> None:
        own, other = byte_tokenizer(), sentence_piece_tokenizer()
        prompts = TokenPrompts.of([[40, 41]], own)
        for ask in (prompts.texts, prompts.require, lambda t: round_trip(prompts, t)):
            with pytest.raises(UsageError, match="belong to another tokenizer"):
                ask(other)
        assert prompts.texts(byte_tokenizer()) == [own.decode([40, 41])]

    def test_a_tokenizer_is_known_by_what_it_does_and_not_by_its_last_call(self) -> None:
        tokenizer = byte_tokenizer()
        before = tokenizer_digest(tokenizer)
        tokenizer("some text", truncation=True, max_length=2)
        assert tokenizer_digest(tokenizer) == before == tokenizer_digest(byte_tokenizer())
        assert before != tokenizer_digest(byte_tokenizer(starts=True))

    def test_ids_outside_the_vocabulary_are_refused(self) -> None:
        tokenizer = byte_tokenizer()
        with pytest.raises(UsageError, match="prompt 1 has ids outside"):
            TokenPrompts.of([[3], [len(tokenizer)]], tokenizer)


class TestExport:
    def exported(self) -> ExportedPrompts:
        tokenizer = byte_tokenizer()
        prompts = TokenPrompts.of([[40, 41, 42], [50]], tokenizer)
        vectors = tuple(np.random.default_rng(0).normal(size=(n, 4)) for n in (3, 1))
        texts = tuple(
            {"prompt": text, "completion": "zwölf\nlines"} for text in prompts.texts(tokenizer)
        )
        return ExportedPrompts(prompts, vectors, texts, 0.25)

    def test_it_is_read_back_as_it_was_written(self, tmp_path: Path) -> None:
        exported = self.exported()
        export_prompts(tmp_path, exported)
        found = read_export(tmp_path, byte_tokenizer())
        assert found.texts == exported.texts == tuple(read_texts(tmp_path))
        assert found.inner_rate == 0.25
        for one, other in zip(found.prompts.ids, exported.prompts.ids, strict=True):
            assert one.tolist() == other.tolist()
        for vectors, expected in zip(found.embeddings, exported.embeddings, strict=True):
            np.testing.assert_array_equal(vectors, expected.astype(np.float32))

    def test_each_line_is_a_row_of_text_with_its_ids(self, tmp_path: Path) -> None:
        export_prompts(tmp_path, self.exported())
        lines = (tmp_path / "prompts.jsonl").read_text(encoding="utf-8").splitlines()
        assert json.loads(lines[1])["ids"] == [50]
        assert json.loads(lines[0])["completion"] == "zwölf\nlines"

    def test_another_models_ids_are_refused_and_its_text_is_not(self, tmp_path: Path) -> None:
        export_prompts(tmp_path, self.exported())
        with pytest.raises(UsageError, match="another tokenizer"):
            read_export(tmp_path, sentence_piece_tokenizer())
        assert len(read_texts(tmp_path)) == 2

    def test_a_folder_without_an_export_or_with_a_broken_one_is_an_error(
        self, tmp_path: Path
    ) -> None:
        with pytest.raises(UsageError, match="there is no export of prompts"):
            read_texts(tmp_path)
        export_prompts(tmp_path, self.exported())
        (tmp_path / "prompts.jsonl").write_text("{\n")
        with pytest.raises(HarnessError, match=r"prompts\.jsonl cannot be read"):
            read_texts(tmp_path)

    def test_lengths_that_do_not_fit_are_refused(self) -> None:
        good = self.exported()
        with pytest.raises(UsageError, match="2 prompts, 2 embeddings and 1 texts"):
            ExportedPrompts(good.prompts, good.embeddings, good.texts[:1], 0.1)
        with pytest.raises(UsageError, match="prompt 0 has 3 ids"):
            ExportedPrompts(good.prompts, good.embeddings[::-1], good.texts, 0.1)
