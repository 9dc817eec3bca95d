"""A two-layer classifier with random weights over a vocabulary of letters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from harness.context import StageContext
from harness.kit.text.classifier import TextClassifier
from harness.types import StudentInfo

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


def letter_tokenizer(side: str = "right") -> PreTrainedTokenizerFast:
    ids = {token: index for index, token in enumerate((*_SPECIAL, *_LETTERS))}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        padding_side=side,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def tiny_bert(*, dropout: float = 0.0, vocabulary: int = 30, classes: int = 3) -> PreTrainedModel:
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        num_labels=classes,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        initializer_range=0.2,
    )
    return BertForSequenceClassification(config)


@pytest.fixture
def make_classifier() -> Callable[..., TextClassifier]:
    """Builds a classifier around a model; the same seed gives the same weights."""

    def make(
        make_model: Callable[..., PreTrainedModel] = tiny_bert,
        *,
        seed: int = 0,
        columns: tuple[str, ...] = ("text",),
        max_length: int = 64,
        side: str = "right",
        dtype: torch.dtype = torch.float32,
        **options: object,
    ) -> TextClassifier:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = make_model(**options).to(dtype)
        return TextClassifier(
            model=model,
            tokenizer=letter_tokenizer(side),
            input_columns=columns,
            max_length=max_length,
            info=StudentInfo("letters", "tiny", "random", 0),
            device=torch.device("cpu"),
        )

    return make


@pytest.fixture
def context(tmp_path: Path) -> StageContext:
    return StageContext(seed=7, workdir=tmp_path)
