"""A byte-level BPE vocabulary of a task's own, for students trained from scratch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from harness.data.texts import texts_digest
from harness.kit.text.byte_bpe import learn_bpe
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
        learnt = learn_bpe(texts, size, [START, END], min_frequency=2)
        return {"tokenizer": np.frombuffer(learnt.to_str().encode(), dtype=np.uint8)}

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
