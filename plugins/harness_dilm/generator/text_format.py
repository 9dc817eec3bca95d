"""The text format of rows: `<bos_c> field <sep> field <end>`, written and parsed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.errors import UsageError
from harness.kit.training.batching import EncodedRows
from harness.types import LABEL_COLUMN

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class TextFormat:
    """How a labelled row is written for a causal language model (DiLM, section 3.1).

    The structural tokens are ids of the model, not strings of the tokenizer, so no text can
    spell one of them.

    class_ids: `<bos_c>` of each class; separator, pad, end: the other structural tokens.
    start: what every row begins with, before its class token.
    """

    tokenizer: PreTrainedTokenizerFast
    columns: tuple[str, ...]
    class_ids: tuple[int, ...]
    separator: int
    pad: int
    end: int
    start: tuple[int, ...] = ()

    @property
    def given(self) -> int:
        """Tokens of a row that are never predicted: the start and the class token."""
        return len(self.start) + 1

    def prompt(self, label: int) -> list[int]:
        """What a row of a class begins with."""
        return [*self.start, self.class_ids[label]]

    def encode(self, rows: Dataset, max_length: int) -> EncodedRows:
        """One sequence a row, class token first and end token last.

        A row longer than `max_length` loses tokens at the end of its longest fields.

        Raises:
            UsageError: `max_length` leaves no room for a token in each field.
        """
        structure = len(self.columns) + self.given
        room = max_length - structure
        if room < len(self.columns):
            raise UsageError(
                f"max_length = {max_length} leaves no room for {len(self.columns)} text fields"
            )
        fields = [self._tokenise(list(rows[column])) for column in self.columns]
        labels = np.asarray(rows[LABEL_COLUMN])
        return EncodedRows(
            ids=tuple(
                self.join(int(label), shortened(parts, room))
                for label, parts in zip(labels, zip(*fields, strict=True), strict=True)
            )
        )

    def join(self, label: int, parts: Sequence[Sequence[int]]) -> np.ndarray:
        """`<bos_c> part <sep> part <end>` as ids."""
        sequence = self.prompt(label)
        for position, part in enumerate(parts):
            sequence += [self.separator, *part] if position else part
        return np.asarray([*sequence, self.end], dtype=np.int64)

    def fields(self, sequence: np.ndarray) -> tuple[str, ...]:
        """The texts between the structural tokens of a sequence, stripped of outer blanks."""
        body = sequence[self.given :]
        if len(body) and body[-1] == self.end:
            body = body[:-1]
        cuts = np.flatnonzero(body == self.separator)
        parts = np.split(body, cuts)
        contents = [parts[0], *(part[1:] for part in parts[1:])]
        return tuple(text.strip() for text in self.tokenizer.batch_decode(contents))

    def is_well_formed(self, fields: Sequence[str]) -> bool:
        """Whether there is one text for every column and none is empty."""
        return len(fields) == len(self.columns) and all(fields)

    def _tokenise(self, texts: Sequence[str]) -> list[list[int]]:
        """Field texts as ids, with the leading blank that separates them from what precedes."""
        encoded = self.tokenizer(
            [f" {text.strip()}" for text in texts], add_special_tokens=False
        ).input_ids
        return [[token for token in ids if token != self.end] for ids in encoded]


def shortened(parts: Sequence[Sequence[int]], room: int) -> list[Sequence[int]]:
    """The parts cut to `room` tokens in all; only those longer than an even share lose any."""
    kept = [0] * len(parts)
    shortest_first = sorted(range(len(parts)), key=lambda i: len(parts[i]))
    for done, i in enumerate(shortest_first):
        kept[i] = min(len(parts[i]), (room - sum(kept)) // (len(parts) - done))
    return [part[:length] for part, length in zip(parts, kept, strict=True)]
