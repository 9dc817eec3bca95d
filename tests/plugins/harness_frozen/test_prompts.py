"""Prompts: how a row reads, which token is the answer, and that a query is never lost."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from causal_models import byte_tokenizer, sentence_piece_tokenizer
from harness.errors import UsageError
from harness.kit.language.encoding import InstructionEncoder
from harness.testing.toys import toy_task
from harness.types import TaskData
from harness_frozen.prompts import PromptFormat, PromptTokens

LINES = ("text: warm film\nlabel: yes\n\ntext: cold film\nlabel: no\n",)
BYTES = byte_tokenizer(texts=LINES * 2)
STARTS = byte_tokenizer(starts=True, texts=LINES * 2)
PIECES = sentence_piece_tokenizer(LINES[0].splitlines() * 2)
ALL = pytest.mark.parametrize(
    "tokenizer", [BYTES, STARTS, PIECES], ids=["bytes", "bytes-start", "pieces"]
)
PAIRS = replace(
    toy_task(3),
    input_columns=("premise", "hypothesis"),
    label_names=("entailment", "neutral", "contradiction"),
)


def tokens_of(
    form: PromptFormat, tokenizer: PreTrainedTokenizerFast = BYTES, limit: int = 64
) -> PromptTokens:
    return PromptTokens(form, InstructionEncoder(tokenizer, limit), limit)


class TestPromptFormat:
    def test_names_every_column_and_then_the_label(self) -> None:
        form = PromptFormat.of(PAIRS, "", (), "\n\n")
        query = form.query(("it rains", " it is wet\n"))
        assert query == "premise: it rains\nhypothesis: it is wet\nlabel:"
        assert [form.answer(label) for label in range(3)] == [
            " entailment", " neutral", " contradiction",
        ]  # fmt: skip

    def test_may_be_set(self, reviews: TaskData) -> None:
        form = PromptFormat.of(reviews, "Review: {text}\nGood? {label}", ("bad", " fine "), "\n")
        assert form.query(("so so",)) + form.answer(1) == "Review: so so\nGood? fine"
        assert form.cue == "Good?"

    def test_a_word_on_a_line_of_its_own_has_no_blank(self, reviews: TaskData) -> None:
        form = PromptFormat.of(reviews, "{text}\n{label}", (), "\n\n")
        assert form.query(("so so",)) == "so so\n"
        assert form.answer(1) == "yes"

    def test_a_column_without_a_plain_name_has_a_number(self) -> None:
        task = replace(PAIRS, input_columns=("first {text}", "second"))
        form = PromptFormat.of(task, "", (), "\n\n")
        assert form.query(("a", "b")) == "first {text}: a\nsecond: b\nlabel:"
        assert PromptFormat.of(task, "{text1} {label}", (), "").query(("a", "b")) == "a"

    @pytest.mark.parametrize(
        ("template", "complaint"),
        [
            ("{txt} {label}", "asks for 'txt', which task 'reviews' does not have"),
            ("{text}", "should end with {label}"),
            ("{label} {text}", "should end with {label}"),
            ("{label} {text} {label}", "have it once"),
            ("{text} {{label}}", "should end with {label}"),
            ("answer: {label}", "shows no text"),
        ],
    )
    def test_a_template_without_the_row_or_the_answer_is_refused(
        self, template: str, complaint: str, reviews: TaskData
    ) -> None:
        with pytest.raises(UsageError, match=complaint):
            PromptFormat.of(reviews, template, (), "\n\n")

    def test_there_is_a_word_for_each_class(self, reviews: TaskData) -> None:
        with pytest.raises(UsageError, match="has 3 words, and task 'reviews' has 2 classes: no"):
            PromptFormat.of(reviews, "", ("a", "b", "c"), "\n\n")
        with pytest.raises(UsageError, match="word of class 'yes' is empty"):
            PromptFormat.of(reviews, "", ("a", " "), "\n\n")


class TestPromptTokens:
    @ALL
    def test_pieces_are_the_tokens_of_the_whole_text(
        self, tokenizer: PreTrainedTokenizerFast, reviews: TaskData
    ) -> None:
        form = PromptFormat.of(reviews, "", (), "\n\n")
        tokens = tokens_of(form, tokenizer)
        pieces = [
            *tokens.start,
            *tokens.demonstration(("warm film",), 1, opens=True),
            *tokens.demonstration(("cold film",), 0, opens=False),
            *tokens.query(("warm",), opens=False),
        ]
        text = "text: warm film\nlabel: yes\n\ntext: cold film\nlabel: no\n\ntext: warm\nlabel:"
        assert pieces == tokenizer(text)["input_ids"]

    @ALL
    def test_an_answer_is_known_by_the_token_that_follows_in_the_prompt(
        self, tokenizer: PreTrainedTokenizerFast, reviews: TaskData
    ) -> None:
        """With its blank: alone, these tokenizers write another token for the word."""
        tokens = tokens_of(PromptFormat.of(reviews, "", (), "\n\n"), tokenizer)
        query = [*tokens.start, *tokens.query(("warm film",), opens=True)]
        for label, word in enumerate(("no", "yes")):
            whole = tokenizer(f"text: warm film\nlabel: {word}")["input_ids"]
            assert whole[: len(query)] == query
            assert whole[len(query)] == tokens.first_tokens[label]

    def test_words_that_begin_alike_are_named(self, reviews: TaskData) -> None:
        form = PromptFormat.of(reviews, "", ("yes", "yes!"), "\n\n")
        with pytest.raises(UsageError, match=r"'yes' and 'yes!' begin with the same token ' yes'"):
            tokens_of(form)

    def test_words_differ_as_they_stand_behind_the_blank(self, reviews: TaskData) -> None:
        """' yes' and ' no' are tokens; ' ok' and ' am' both begin with a token for the blank."""
        form = PromptFormat.of(reviews, "", ("ok", "am"), "\n\n")
        with pytest.raises(UsageError, match="'ok' and 'am' begin with the same token ' '"):
            tokens_of(form)
        on_lines = PromptFormat.of(reviews, "{text}\n{label}", ("ok", "am"), "\n\n")
        assert len(set(tokens_of(on_lines).first_tokens)) == 2

    @given(
        st.text("warm film\n?é", max_size=60), st.text("warm film\n?é", max_size=60),
        st.integers(30, 60),
    )  # fmt: skip
    def test_a_query_that_is_too_long_keeps_its_end_and_its_beginning(
        self, first: str, second: str, limit: int
    ) -> None:
        task = replace(PAIRS, label_names=("no", "yes", "maybe"))
        template = "a:{premise}\nb:{hypothesis}\nlabel:{label}"
        tokens = tokens_of(PromptFormat.of(task, template, (), "\n\n"), STARTS, limit)
        kept, shortened = tokens.alone((first, second))
        text = STARTS.decode(kept)
        assert len(tokens.start) + len(kept) <= limit
        assert text.startswith("a:")
        assert text.endswith("\nlabel:")
        whole = tokens.form.query((first, second))
        assert shortened == (len(tokens.start) + len(STARTS.tokenize(whole)) > limit)
        assert shortened or text == whole

    def test_a_template_that_is_too_long_by_itself_is_refused(self, reviews: TaskData) -> None:
        tokens = tokens_of(PromptFormat.of(reviews, "", (), "\n\n"), limit=4)
        with pytest.raises(UsageError, match=r"takes \d+ tokens without any text.* allows 4"):
            tokens.alone(("warm",))
