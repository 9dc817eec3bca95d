"""Prompts and completions as tokens: the boundary, the labels, and what is cut."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from causal_models import (
    CHAT_TEMPLATE,
    END,
    START,
    byte_tokenizer,
    sentence_piece_tokenizer,
)
from harness.errors import UsageError
from harness.kit.language.encoding import InstructionEncoder
from harness.kit.language.labelled_rows import IGNORED, LabelledRows

BYTES, STARTING, PIECES = byte_tokenizer(), byte_tokenizer(starts=True), sentence_piece_tokenizer()
ALL = pytest.mark.parametrize(
    "tokenizer", [BYTES, STARTING, PIECES], ids=["bytes", "with-start", "pieces"]
)
PAIR = ("Question: what colour is grass? Answer: ", "green")


def labelled(encoded: LabelledRows, row: int = 0) -> list[int]:
    labels = encoded.labels[row]
    return labels[labels != IGNORED].tolist()


def context_of(encoded: LabelledRows, row: int = 0) -> list[int]:
    return encoded.rows.ids[row][encoded.labels[row] == IGNORED].tolist()


def plain(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


@ALL
def test_the_labels_are_the_completion_and_the_end_token(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    encoded = InstructionEncoder(tokenizer, 64).encode([PAIR], end=True)
    *completion, end = labelled(encoded)
    assert end == tokenizer.eos_token_id
    assert tokenizer.decode(completion).strip() == "green"
    assert labelled(InstructionEncoder(tokenizer, 64).encode([PAIR], end=False)) == completion
    np.testing.assert_array_equal(encoded.rows.ids[0][-len(completion) - 1 :], [*completion, end])


@ALL
def test_the_whole_row_is_the_text_as_the_tokenizer_writes_it(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    encoded = InstructionEncoder(tokenizer, 64).encode([PAIR], end=False)
    assert encoded.rows.ids[0].tolist() == tokenizer("".join(PAIR))["input_ids"]


@ALL
def test_a_blank_belongs_to_the_word_after_it(tokenizer: PreTrainedTokenizerFast) -> None:
    encoder = InstructionEncoder(tokenizer, 64)
    before = encoder.encode([("what colour is ", "grass")], end=False)
    after = encoder.encode([("what colour is", " grass")], end=False)
    assert before.rows.ids[0].tolist() == after.rows.ids[0].tolist()
    assert labelled(before) == labelled(after)


@ALL
def test_tokens_that_would_merge_over_the_boundary_do_not(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    whole = plain(tokenizer, "the answer")
    head = plain(tokenizer, "the ans")
    assert whole[: len(head)] != head
    encoded = InstructionEncoder(tokenizer, 64).encode([("the ans", "wer")], end=False)
    assert context_of(encoded)[-len(head) :] == head
    assert tokenizer.decode(encoded.rows.ids[0], skip_special_tokens=True) == "the answer"
    assert tokenizer.decode(labelled(encoded)) == "wer"


@given(st.text("abc ans wer\n?", max_size=12), st.text("abc ans wer\n?", min_size=1, max_size=12))
def test_every_text_is_read_back_from_its_tokens(prompt: str, completion: str) -> None:
    encoder = InstructionEncoder(BYTES, 64)
    encoded = encoder.encode([(prompt, completion)], end=False)
    assert BYTES.decode(encoded.rows.ids[0], skip_special_tokens=True) == prompt + completion
    bare = prompt.rstrip()
    assert BYTES.decode(labelled(encoded)) == prompt[len(bare) :] + completion


@ALL
def test_the_start_token_is_there_where_the_tokenizer_puts_one(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    first = InstructionEncoder(tokenizer, 64).encode([PAIR], end=True).rows.ids[0][0]
    assert (first == tokenizer.bos_token_id) == (tokenizer is not BYTES)


@ALL
def test_an_empty_prompt_begins_with_the_start_token(tokenizer: PreTrainedTokenizerFast) -> None:
    encoded = InstructionEncoder(tokenizer, 64).encode([("", "green")], end=False)
    assert context_of(encoded) == [tokenizer.bos_token_id]
    assert labelled(encoded)[-1] == plain(tokenizer, "green")[-1]


@ALL
@given(length=st.integers(8, 40), words=st.integers(1, 30))
def test_a_long_prompt_loses_its_beginning_and_nothing_else(
    tokenizer: PreTrainedTokenizerFast, length: int, words: int
) -> None:
    pair = ("colour " * words, "grass")
    full = InstructionEncoder(tokenizer, 1000).encode([pair], end=True)
    cut = InstructionEncoder(tokenizer, length).encode([pair], end=True)
    ids, kept = full.rows.ids[0].tolist(), cut.rows.ids[0].tolist()
    assert len(kept) == min(length, len(ids))
    assert labelled(cut) == labelled(full)
    start = 0 if tokenizer is BYTES else 1
    assert kept[:start] == ids[:start]
    assert kept[start:] == ids[len(ids) - len(kept) + start :]


def test_a_completion_that_does_not_fit_is_named() -> None:
    long = "green " * 9
    with pytest.raises(
        UsageError, match=r"row 1: the completion of \d+ tokens does not fit into 9"
    ):
        InstructionEncoder(STARTING, 9).encode([PAIR, ("a", long)], end=True)
    tokens = len(plain(BYTES, "green")) + 1
    with pytest.raises(UsageError, match=r"recipe\.max_length"):
        InstructionEncoder(BYTES, tokens).encode([("a", "green")], end=True)


def test_a_completion_without_a_token_is_named() -> None:
    with pytest.raises(UsageError, match="row 2: the completion has no token"):
        InstructionEncoder(BYTES, 32).encode([PAIR, PAIR, ("a", "")], end=True)
    with pytest.raises(UsageError, match="no rows"):
        InstructionEncoder(BYTES, 32).encode([], end=True)


def test_a_tokenizer_without_an_end_token_is_refused() -> None:
    bare = PreTrainedTokenizerFast(tokenizer_object=byte_tokenizer().backend_tokenizer)
    with pytest.raises(UsageError, match="no end token"):
        InstructionEncoder(bare, 32).encode([PAIR], end=True)
    with pytest.raises(UsageError, match="neither a start nor an end token"):
        InstructionEncoder(bare, 32).encode([("", "a")], end=False)


def test_many_rows_are_as_each_alone(tmp_path: Path) -> None:
    pairs = [(f"colour {n}: ", "green" * (n % 3 + 1)) for n in range(1030)]
    encoder = InstructionEncoder(STARTING, 32)
    together = encoder.encode(pairs, end=True)
    for row in (0, 1023, 1024, 1029):
        alone = encoder.encode([pairs[row]], end=True)
        assert together.rows.ids[row].tolist() == alone.rows.ids[0].tolist()
        assert together.labels[row].tolist() == alone.labels[0].tolist()


class TestChat:
    @staticmethod
    def encoder(template: str = CHAT_TEMPLATE, max_length: int = 64) -> InstructionEncoder:
        tokenizer = byte_tokenizer(starts=True)
        tokenizer.chat_template = template
        return InstructionEncoder(tokenizer, max_length, chat=True)

    @staticmethod
    def texts(encoder: InstructionEncoder, parts: Sequence[Sequence[int]]) -> list[str]:
        return [encoder.tokenizer.decode(part) for part in parts]

    def test_the_prompt_is_a_turn_and_the_completion_the_answer_to_it(self) -> None:
        encoder = self.encoder()
        encoded = encoder.encode([PAIR], end=True)
        assert self.texts(encoder, [context_of(encoded), labelled(encoded)]) == [
            f"[user]{PAIR[0].strip()}{END}\n[assistant]", f"green{END}",
        ]  # fmt: skip
        assert START not in encoder.tokenizer.decode(encoded.rows.ids[0])

    def test_a_continuation_is_scored_after_the_same_turn(self) -> None:
        encoder = self.encoder()
        trained, scored = (encoder.encode([PAIR], end=end) for end in (True, False))
        assert context_of(trained) == context_of(scored)
        assert labelled(trained) == [*labelled(scored), encoder.tokenizer.eos_token_id]

    def test_a_template_that_closes_no_turn_is_closed(self) -> None:
        open_ended = CHAT_TEMPLATE.replace("</s>", ";")
        encoded = self.encoder(open_ended).encode([PAIR], end=True)
        assert self.texts(self.encoder(), [labelled(encoded)]) == [f"green;{END}"]

    def test_a_template_that_rewrites_the_prompt_is_refused(self) -> None:
        rewriting = "{{ messages | length }}" + CHAT_TEMPLATE
        with pytest.raises(UsageError, match="writes a prompt differently"):
            self.encoder(rewriting).encode([PAIR], end=True)

    def test_a_tokenizer_without_a_template_is_refused(self) -> None:
        with pytest.raises(UsageError, match="no chat template"):
            InstructionEncoder(byte_tokenizer(), 64, chat=True)
