"""A tiny world for DiLM: a two-class task, a generator and a learner of a few thousand numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
    XLNetConfig,
    XLNetForSequenceClassification,
)

from harness.context import StageContext
from harness.kit.text.classifier import TextClassifier
from harness.randomness import seeded
from harness.types import DataSource, StudentInfo, TaskData
from harness_dilm.generator.model import Generator, build_generator
from harness_dilm.options import LanguageModelOptions

GOOD = ("good", "great", "fine", "lovely", "warm", "bright")
BAD = ("bad", "poor", "dull", "awful", "cold", "bleak")
THINGS = ("film", "story", "plot", "cast", "scene", "score", "end", "start")
WORDS = (*GOOD, *BAD, *THINGS, "a", "the", "is", "and")
TINY: dict[str, Any] = {
    "generator": "gpt2:tiny",
    "tiny_layers": 1,
    "tiny_width": 16,
    "tiny_heads": 2,
    "tiny_vocabulary": 320,
    "tiny_dropout": 0.1,
    "max_length": 32,
    "dtype": "float32",
    "proxy": "tiny",
}
MATCHING: dict[str, Any] = {
    **TINY,
    "match_steps": 2,
    "inner_steps": 3,
    "match_learning_rate": 1e-3,
    "synthetic_batch": 4,
    "learner_steps_between": 2,
    "learner_batch_size": 8,
    "learner_learning_rate": 1e-2,
    "teachers": 2,
    "teacher_rows": 5,
    "dms_interval": 3,
    "dms_batches": 3,
    "max_failures": 50,
}
LEARNERS = ("bert", "roberta", "xlnet")


def make_rows(count: int, fields: int, seed: int = 0) -> Dataset:
    """Balanced rows of `fields` short sentences, whose adjectives tell the class."""
    rng = np.random.default_rng(seed)

    def sentence(label: int) -> str:
        words = rng.choice(BAD if label == 0 else GOOD, rng.integers(1, 4))
        return f"the {rng.choice(THINGS)} is {' and '.join(words)}"

    labels = [i % 2 for i in range(count)]
    names = ["text"] if fields == 1 else [f"text{i}" for i in range(fields)]
    columns = {name: [sentence(label) for label in labels] for name in names}
    return Dataset.from_dict({**columns, "label": labels})


def make_task(count: int = 40, fields: int = 1) -> TaskData:
    train = make_rows(count, fields)
    return TaskData(
        name="toy",
        modality="text-classification",
        version=1,
        metric="accuracy",
        input_columns=tuple(name for name in train.column_names if name != "label"),
        label_names=("bad", "good"),
        splits={"train": train, "validation": make_rows(10, fields, seed=1)},
        source=DataSource("file", "made up"),
    )


def word_tokenizer() -> PreTrainedTokenizerFast:
    special = ["<pad>", "<unk>", "<cls>", "<sep>"]
    vocabulary = {word: i for i, word in enumerate([*special, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<cls> $A <sep>",
        pair="<cls> $A <sep> $B <sep>",
        special_tokens=[("<cls>", 2), ("<sep>", 3)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        cls_token="<cls>",
        sep_token="<sep>",
        model_max_length=64,
    )


def make_classifier(
    columns: tuple[str, ...] = ("text",), family: str = "bert", seed: int = 0
) -> TextClassifier:
    """A classifier of a family, random enough to tell rows apart, in float32."""
    small = {"vocab_size": 40, "num_labels": 2, "pad_token_id": 0, "initializer_range": 0.3}
    layers = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 80,
    }
    with seeded(seed):
        model: Any
        if family == "bert":
            model = BertForSequenceClassification(BertConfig(**small, **layers))
        elif family == "roberta":
            model = RobertaForSequenceClassification(RobertaConfig(**small, **layers))
        else:
            config = XLNetConfig(**small, d_model=16, n_layer=2, n_head=2, d_inner=32)
            model = XLNetForSequenceClassification(config)
    return TextClassifier(
        model=model,
        tokenizer=word_tokenizer(),
        input_columns=columns,
        max_length=64,
        info=StudentInfo("tiny", family, "made up", 1),
        device=torch.device("cpu"),
    )


@dataclass(frozen=True)
class TinyStudent:
    """What a context gives for any proxy spec."""

    def fingerprint(self) -> str:
        return "tiny"

    def build(
        self, task: TaskData, context: StageContext, *, max_length: int = 128
    ) -> TextClassifier:
        del context, max_length
        return make_classifier(task.input_columns)


def make_context(workdir: Path, seed: int = 3, **services: Any) -> StageContext:
    """A context whose every proxy is the tiny classifier."""
    return StageContext(
        seed=seed,
        workdir=workdir,
        student=lambda _: TinyStudent(),  # type: ignore[arg-type,return-value]
        **services,
    )


def make_generator(task: TaskData, context: StageContext, **options: Any) -> Generator:
    """A fresh generator; keyword arguments override the tiny options."""
    return build_generator(LanguageModelOptions(**{**TINY, **options}), task, context)


def in_float64(generator: Generator) -> Generator:
    """The same generator in double precision, for comparisons with an oracle."""
    generator.model.double()
    return replace(generator, dtype=torch.float64)
