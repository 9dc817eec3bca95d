"""Tokenisation of prompts and completions: chat templates, truncation, and where one ends.

A prompt's trailing blanks go to the completion before anything is tokenised, because tokenizers
of subwords join a blank with the word that follows it. A completion's tokens are those that
follow the prompt's own in the text of both; where the two merge over the boundary, the completion
is tokenised by itself, so that the prompt's tokens stay what a model sees when it generates.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from harness.errors import UsageError
from harness.kit.language.labelled_rows import IGNORED, LabelledRows
from harness.kit.training.batching import EncodedRows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from harness.context import StageContext

Pairs = Sequence[tuple[str, str]]

_PAIRS_AT_ONCE = 1024
_ANCHORS = ("\n", "a")
_PROBE = "a"


@dataclass(frozen=True)
class InstructionEncoder:
    """Encodes (prompt, completion) pairs for one tokenizer.

    max_length: tokens of a row. A longer prompt loses its first tokens; the tokenizer's own start
    token and the whole completion always stay.
    chat: write the prompt as a user's turn and the completion as the assistant's, by the
    tokenizer's chat template.
    """

    tokenizer: PreTrainedTokenizerFast
    max_length: int
    chat: bool = False

    def __post_init__(self) -> None:
        if self.chat and not self.tokenizer.chat_template:
            raise UsageError(
                "the tokenizer has no chat template", hint="Leave the option 'chat' off."
            )

    def encode(
        self, pairs: Pairs, *, end: bool, context: StageContext | None = None
    ) -> LabelledRows:
        """Rows whose labels are the completions' tokens.

        end: close each completion with the tokenizer's end token, which is labelled as well; for
        training, not for scoring.

        Raises:
            UsageError: a completion without a token or longer than a row; names its row.
        """
        if not pairs:
            raise UsageError("there are no rows to encode")
        starts: Iterable[int] = range(0, len(pairs), _PAIRS_AT_ONCE)
        if context is not None and len(pairs) > _PAIRS_AT_ONCE:
            total = -(-len(pairs) // _PAIRS_AT_ONCE)
            starts = context.track(starts, "tokenising", total=total)
        ids: list[np.ndarray] = []
        labels: list[np.ndarray] = []
        for start in starts:
            part = pairs[start : start + _PAIRS_AT_ONCE]
            split = self._split([self._written(*pair, end=end) for pair in part])
            for row, (head, tail) in enumerate(split, start=start):
                closed = self._closed(tail) if end and tail else tail
                before = self._fitted(head, closed, row)
                ids.append(np.array([*before, *closed], dtype=np.int32))
                labels.append(np.array([*([IGNORED] * len(before)), *closed], dtype=np.int64))
        return LabelledRows(EncodedRows(tuple(ids)), tuple(labels))

    def prompts(self, texts: Sequence[str], room: int) -> list[list[int]]:
        """Token ids of prompts alone, at most `max_length - room` of each, for generation."""
        written = [self._written(text, "", end=False)[0] for text in texts]
        return [
            self._context(head, self.max_length - room, f"prompt {row}")
            for row, head in enumerate(self._tokens(written))
        ]

    def texts(self, texts: Sequence[str]) -> EncodedRows:
        """Plain texts behind the tokenizer's start token; a longer one loses its last tokens."""
        begin = self.start_ids or self._first
        return EncodedRows(
            tuple(
                np.array([*begin, *ids][: self.max_length], dtype=np.int32)
                for ids in self._tokens(texts)
            )
        )

    def opening(self, text: str) -> list[int]:
        """Tokens of a text that nothing precedes, without a start token."""
        return self._tokens([text])[0]

    def continued(self, text: str, after: str = "") -> list[int]:
        """Tokens of a text that begins inside a line: no mark of a text's beginning in front.

        after: what precedes it, if that is known.
        """
        for anchor in (after, *_ANCHORS) if after else _ANCHORS:
            before, whole = self._tokens([anchor, anchor + text])
            if whole[: len(before)] == before:
                return whole[len(before) :]
        return self._tokens([text])[0]

    @cached_property
    def start_ids(self) -> list[int]:
        """What the tokenizer puts in front of any text, such as `<s>`; chat templates have it."""
        if self.chat:
            return []
        plain = self._tokens([_PROBE])[0]
        full = self.tokenizer(_PROBE)["input_ids"]
        return next(
            list(full[:i]) for i in range(len(full)) if list(full[i : i + len(plain)]) == plain
        )

    @cached_property
    def _first(self) -> list[int]:
        """What an empty prompt begins with, so that there is something to predict from."""
        for token in (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id):
            if token is not None:
                return [token]
        raise UsageError("the tokenizer has neither a start nor an end token for an empty prompt")

    def _written(self, prompt: str, completion: str, *, end: bool) -> tuple[str, str]:
        """What stands before the boundary and what after it."""
        if self.chat:
            return self._turns(prompt, completion, end=end)
        bare = prompt.rstrip()
        return bare, prompt[len(bare) :] + completion

    def _turns(self, prompt: str, completion: str, *, end: bool) -> tuple[str, str]:
        user = [{"role": "user", "content": prompt.strip()}]
        asked = str(
            self.tokenizer.apply_chat_template(user, tokenize=False, add_generation_prompt=True)
        )
        if not end:
            return asked, completion
        both = [*user, {"role": "assistant", "content": completion}]
        whole = str(self.tokenizer.apply_chat_template(both, tokenize=False))
        if not whole.startswith(asked):
            raise UsageError(
                "the tokenizer's chat template writes a prompt differently once it is answered",
                hint="Leave the option 'chat' off.",
            )
        return asked, whole[len(asked) :].rstrip()

    def _split(self, texts: Pairs) -> list[tuple[list[int], list[int]]]:
        """Tokens before and after the boundary, without start or end tokens of their own."""
        heads = self._tokens([head for head, _ in texts])
        wholes = self._tokens([head + tail for head, tail in texts])
        return [
            (head, whole[len(head) :] if whole[: len(head)] == head else self.continued(tail))
            for head, whole, (_, tail) in zip(heads, wholes, texts, strict=True)
        ]

    def _closed(self, tail: list[int]) -> list[int]:
        last = self.tokenizer.eos_token_id
        if last is None:
            raise UsageError("the tokenizer has no end token to close a completion with")
        return tail if tail[-1] == last else [*tail, last]

    def _fitted(self, head: list[int], tail: list[int], row: int) -> list[int]:
        """The start and as much of the prompt's end as leaves room for the whole completion."""
        if not tail:
            raise UsageError(f"row {row}: the completion has no token to learn from or to score")
        return self._context(
            head, self.max_length - len(tail), f"row {row}: the completion of {len(tail)} tokens"
        )

    def _context(self, head: list[int], room: int, what: str) -> list[int]:
        begin = self.start_ids or (self._first if not head else [])
        kept = room - len(begin)
        if kept < 0 or room < 1:
            raise UsageError(
                f"{what} does not fit into {self.max_length} tokens with anything before it",
                hint="Raise max_length (recipe.max_length in a suite), or leave the row out.",
            )
        return [*begin, *head[max(0, len(head) - kept) :]]

    def _tokens(self, texts: Sequence[str]) -> list[list[int]]:
        encoded = self.tokenizer(
            list(texts),
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
        return [list(ids) for ids in encoded["input_ids"]]
