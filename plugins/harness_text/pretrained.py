"""Construction of sequence classifiers by transformers, reproducibly."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from harness.kit.modes import quiet_transformers
from harness.kit.weights import reading_weights
from harness.randomness import seeded

TINY_LENGTH = 512
_KIND = "a sequence classifier"


def load_pretrained(
    folder: Path, label_names: Sequence[str], seed: int
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """A checkpoint's encoder with a new classification head drawn from `seed`.

    Everything outside the encoder is drawn anew, also where the checkpoint has a head of its
    own. Weights are float32 whatever the checkpoint stores: AdamW's epsilon vanishes in float16.

    Raises:
        HarnessError: transformers cannot read the folder as a sequence classifier.
    """
    with seeded(seed), quiet_transformers(), reading_weights(folder, _KIND):
        model = AutoModelForSequenceClassification.from_pretrained(
            folder,
            **_label_options(label_names),
            ignore_mismatched_sizes=True,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
        )
        _renew_head(model)
        return model, AutoTokenizer.from_pretrained(folder, local_files_only=True)


def load_fitted(folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """What `TextClassifier.save` wrote, head included.

    Raises:
        HarnessError: transformers cannot read the folder as a sequence classifier.
    """
    with quiet_transformers(), reading_weights(folder, _KIND):
        model = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, local_files_only=True
        )
        return model, AutoTokenizer.from_pretrained(folder, local_files_only=True)


def random_tiny_bert(
    vocabulary_size: int, label_names: Sequence[str], seed: int
) -> PreTrainedModel:
    """A BERT of 2 layers, 2 heads and 128 hidden units, all weights drawn from `seed`."""
    config = BertConfig(
        vocab_size=vocabulary_size,
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=512,
        max_position_embeddings=TINY_LENGTH,
        **_label_options(label_names),
    )
    with seeded(seed), quiet_transformers():
        return BertForSequenceClassification(config)


def _label_options(label_names: Sequence[str]) -> dict[str, Any]:
    return {
        "num_labels": len(label_names),
        "id2label": dict(enumerate(label_names)),
        "label2id": {name: label for label, name in enumerate(label_names)},
    }


def _renew_head(model: PreTrainedModel) -> None:
    """Draws every module outside the encoder from the model family's own initialisation."""
    encoder = set(model.base_model.modules())
    for module in model.modules():
        if module is model or module in encoder:
            continue
        for parameter in module.parameters(recurse=False):
            # transformers leaves parameters with this mark as they are.
            parameter._is_hf_initialized = False
        with torch.no_grad():
            model._init_weights(module)
