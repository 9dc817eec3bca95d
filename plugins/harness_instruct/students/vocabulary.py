"""A byte-level BPE vocabulary of a task's own, for students trained from scratch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from harness.data.texts import texts_digest
from harness.types import TaskData

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from harness.context import StageContext

START, END = "<s>", "</s>"
TINY_LENGTH = 512
_ALGORITHM = 1


def task_tokenizer(
    task: TaskData, size: int, context: StageContext, *, starts: bool
) -> PreTrainedTokenizerFast:
    """A tokenizer with at most `size` entries learnt from the train split, once for a task.

    starts: whether it puts the start token in front of texts, as Llama's and OPT's do.
    """
    from tokenizers import Tokenizer, processors
    from transformers import PreTrainedTokenizerFast

    texts = [text for column in task.input_columns for text in task.train[column]]

    def learn() -> dict[str, np.ndarray]:
        return {"tokenizer": np.frombuffer(learn_bpe(texts, size).encode(), dtype=np.uint8)}

    inputs = {"texts": texts_digest(texts), "size": size, "algorithm": _ALGORITHM}
    stored = context.cache.arrays("byte-bpe", inputs, learn)["tokenizer"]
    tokenizer = Tokenizer.from_str(stored.tobytes().decode())
    if starts:
        start = tokenizer.token_to_id(START)
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{START} $A", special_tokens=[(START, start)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=START, eos_token=END, model_max_length=TINY_LENGTH
    )


def learn_bpe(texts: Iterable[str], size: int) -> str:
    """GPT-2's kind of tokenizer, as JSON text: every byte is an entry, so any text can be written.

    The same texts give the same vocabulary: with the bytes given in order, pairs that occur
    equally often are merged in the order of their entries.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        special_tokens=[START, END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator((f" {text.strip()}" for text in texts), trainer)
    return tokenizer.to_str()
