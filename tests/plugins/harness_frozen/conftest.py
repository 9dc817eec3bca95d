"""Reviews whose words a small tokenizer knows, and a host's context that has one model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from datasets import Dataset
from transformers import PreTrainedTokenizerFast

from causal_models import byte_tokenizer
from harness.context import StageContext
from harness.kit.language.causal_lm import CausalLM
from harness.types import DataSource, TaskData

TEXTS = (
    "text: warm film\nlabel: yes\n\ntext: cold film\nlabel: no\n\nlabel: maybe\n",
    "premise: a man sings\nhypothesis: a man is silent\nlabel: maybe\n\n",
)


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return byte_tokenizer(texts=TEXTS * 2)


@pytest.fixture
def reviews() -> TaskData:
    """Two classes, `no` and `yes`."""
    train = Dataset.from_dict(
        {
            "text": [f"{word} film {n}" for n in range(6) for word in ("cold", "warm")],
            "label": [0, 1] * 6,
        }
    )
    return TaskData(
        name="reviews", modality="text-classification", version=1, metric="accuracy",
        input_columns=("text",), label_names=("no", "yes"),
        splits={"train": train, "validation": train.select(range(4)), "test": train},
        source=DataSource("package", "test"),
    )  # fmt: skip


class Gives:
    """A student whose language model is the one given."""

    def __init__(self, lm: object) -> None:
        self._lm = lm

    def build(self, task: TaskData, context: StageContext) -> object:
        return self._lm


@pytest.fixture
def context_with(tmp_path: Path) -> Callable[..., StageContext]:
    def make(lm: CausalLM | object, seed: int = 0) -> StageContext:
        return StageContext(seed=seed, workdir=tmp_path, student=lambda _: Gives(lm))

    return make
