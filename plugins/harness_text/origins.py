"""What a fresh student starts from: a checkpoint, or random weights and its own vocabulary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from harness.data.texts import texts_digest
from harness.kit.weights import Weights
from harness.types import TaskData
from harness_text.wordpiece import count_words, learn_vocabulary, wordpiece_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from harness.context import StageContext

TINY_VOCABULARY = 4096


@dataclass(frozen=True)
class PretrainedEncoder:
    """A pre-trained encoder; the head is drawn from the context's seed."""

    weights: Weights
    pretrained: ClassVar[bool] = True

    def fingerprint(self) -> str:
        return self.weights.fingerprint()

    def create(
        self, task: TaskData, context: StageContext
    ) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
        from harness_text.pretrained import load_pretrained

        return load_pretrained(self.weights.folder(), task.label_names, context.seed_for("head"))


@dataclass(frozen=True)
class TinyBert:
    """A small BERT drawn from the context's seed, with a vocabulary of the task's train texts."""

    vocabulary_size: int = TINY_VOCABULARY
    pretrained: ClassVar[bool] = False

    def fingerprint(self) -> str:
        return "random"

    def create(
        self, task: TaskData, context: StageContext
    ) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
        from harness_text.pretrained import TINY_LENGTH, random_tiny_bert

        vocabulary = self._vocabulary(task, context)
        model = random_tiny_bert(len(vocabulary), task.label_names, context.seed_for("weights"))
        return model, wordpiece_tokenizer(vocabulary, TINY_LENGTH)

    def _vocabulary(self, task: TaskData, context: StageContext) -> list[str]:
        texts = [text for column in task.input_columns for text in task.train[column]]

        def learn() -> dict[str, np.ndarray]:
            shown = context.track(texts, "learning a vocabulary", total=len(texts))
            tokens = learn_vocabulary(count_words(shown), self.vocabulary_size)
            return {"tokens": np.frombuffer("\n".join(tokens).encode(), dtype=np.uint8)}

        inputs = {"texts": texts_digest(texts), "size": self.vocabulary_size, "algorithm": 1}
        stored = context.cache.arrays("wordpiece", inputs, learn)
        return stored["tokens"].tobytes().decode().split("\n")
