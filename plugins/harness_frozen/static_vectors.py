"""The student `static`: logistic regression on the mean of a text's pre-trained token vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from harness.data.texts import joined_texts
from harness.errors import unknown_name
from harness.kit.weights import PackageFile
from harness.options import Positive
from harness.types import StudentInfo, TaskData
from harness_frozen.linear_head import LinearHead
from harness_frozen.linear_student import LinearStudent

if TYPE_CHECKING:
    from datasets import Dataset
    from tokenizers import Tokenizer

    from harness.context import StageContext


@dataclass(frozen=True)
class StaticWeights:
    """A table of token vectors with its tokenizer.

    vectors: a safetensors file with the table [vocabulary, d] as `name`; tokenizer: the JSON file
    of the `tokenizers` library.
    """

    vectors: PackageFile
    name: str
    tokenizer: PackageFile


def _wordllama(file: str, sha256: str) -> PackageFile:
    return PackageFile(
        "wordllama", "wordllama", file, sha256, install="'distill-harness[wordllama]'"
    )


WORDLLAMA = StaticWeights(
    vectors=_wordllama(
        "weights/l2_supercat_256.safetensors",
        "64b47a2dc493cb8e85944076601189739852d7b64e0e1eedcb1937a251cd9fd5",
    ),
    name="embedding.weight",
    tokenizer=_wordllama(
        "tokenizers/l2_supercat_tokenizer_config.json",
        "93248f2a9ec36c7b35f700a033d5f36228aae48db61aee31007fa49062cdeb68",
    ),
)


@dataclass
class TokenVectors:
    """Means of the vectors of a text's tokens; a text without tokens is zero.

    columns: the task's texts; those of a row with several are joined by line breaks.
    """

    weights: StaticWeights
    columns: tuple[str, ...]
    max_length: int

    @cached_property
    def table(self) -> np.ndarray:
        """[vocabulary, d] float32."""
        from safetensors.numpy import load_file

        return load_file(self.weights.vectors.path())[self.weights.name].astype(np.float32)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self.weights.tokenizer.path()))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return tokenizer

    def read(self, rows: Dataset, context: StageContext | None = None) -> np.ndarray:
        """[n, d] float32, in the order of `rows`."""
        texts = joined_texts(rows, self.columns)
        encoded = self.tokenizer.encode_batch(texts, add_special_tokens=False)
        means = [self._mean(one.ids[: self.max_length]) for one in encoded]
        return np.stack(means) if means else self.table[:0]

    def _mean(self, ids: list[int]) -> np.ndarray:
        return self.table[ids].mean(axis=0) if ids else np.zeros_like(self.table[0])


@dataclass(frozen=True)
class Static(LinearStudent[TokenVectors]):
    """Logistic regression on the mean of a text's token vectors, which are pre-trained and fixed.

    The simplest student that knows words: no order, no context, and a tokenizer of its own.
    Nothing is drawn at random, so seeds differ by their sets alone. The recipe's learning rate
    means nothing here, its steps and batch size bound the rows that are looked at.

    variant: `wordllama`, 256 numbers a token made from the input embeddings of large language
        models (Miller 2024), which come by pip.
    penalty: of half the squared weights, against the sum of the rows' cross-entropies; vectors
        are standardised by the training rows first.
    """

    variant: str = "wordllama"
    penalty: Positive = 1.0

    variants: ClassVar[Mapping[str, StaticWeights]] = {"wordllama": WORDLLAMA}

    def __post_init__(self) -> None:
        if self.variant not in self.variants:
            raise unknown_name("variant of student 'static'", self.variant, self.variants)

    def fingerprint(self) -> str:
        """Package, version and hash of the vectors."""
        return self.variants[self.variant].vectors.fingerprint()

    def reader(self, task: TaskData, max_length: int, context: StageContext) -> TokenVectors:
        return TokenVectors(self.variants[self.variant], tuple(task.input_columns), max_length)

    def info(self, reader: TokenVectors, head: LinearHead) -> StudentInfo:
        return StudentInfo(
            name="static",
            variant=self.variant,
            source=self.fingerprint(),
            parameters=reader.table.size + head.parameters,
        )
