"""The same recording serves language models with LoRA, and classifiers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from causal_models import make_lm
from harness.errors import UsageError
from harness.kit.language.causal_lm import CausalLM
from harness.kit.language.labelled_rows import IGNORED, LabelledRows
from harness.kit.language.lora import LoraOptions, add_lora
from harness.kit.language.loss import example_losses
from harness.kit.text.classifier import TextClassifier
from harness.kit.training.batching import EncodedRows
from harness.kit.training.parameter_layout import ParameterLayout
from harness.kit.trajectories.experts import (
    ExpertOptimizer,
    ExpertTrajectories,
    classification_expert,
    completion_expert,
    train_only,
)

Record = Callable[..., ExpertTrajectories]
ANSWERS = {"grass": "green", "snow": "white", "the answer": "cold", "it": "not"}
PAIRS = [(f"Question: what colour is {what}? Answer:", f" {c}") for what, c in ANSWERS.items()]


def matching_loss(reached: Tensor, start: Tensor, target: Tensor) -> float:
    """Cazenavette et al. 2022, equation 2: 0 where the target is met, 1 where nothing moved."""
    return float((reached.detach() - target).square().sum() / (start - target).square().sum())


def lora_lm(family: str, seed: int = 3) -> tuple[CausalLM, ParameterLayout, LabelledRows]:
    lm = make_lm(family)
    lm.model = add_lora(lm.model, LoraOptions(rank=2, dropout=0.3), seed)
    return lm, ParameterLayout.of(lm.model), lm.encoder().encode(PAIRS, end=True)


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt"])
def test_adapters_of_a_language_model_are_replayed_from_its_kept_batches(
    record: Record, family: str
) -> None:
    """Dropout of the adapters is off while experts learn; the oracle pads the rows by itself."""
    lm, layout, rows = lora_lm(family)
    found = record(
        completion_expert(lm, layout, rows),
        steps=4,
        batch_size=3,
        optimizer=ExpertOptimizer("sgd", 0.5),
    )
    assert all("lora_" in name for name in found.manifest.layout.names)
    lm.model.eval()
    parameters = list(layout.parameters(lm.model).values())
    nn.utils.vector_to_parameters(found.state(1, 1), parameters)
    for batch in found.batches[1, 2:4]:
        loss = example_losses(lm.model, rows.batch(batch, lm.pad_id, "cpu")).mean()
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter -= 0.5 * gradient
    reached = nn.utils.parameters_to_vector(parameters)
    assert matching_loss(reached, found.state(1, 1), found.state(1, 2)) < 1e-8


def test_one_draw_of_the_adapters_is_one_initialisation(record: Record, tmp_path: Path) -> None:
    first = record(completion_expert(*lora_lm("llama", seed=3)), steps=2)
    again = record(completion_expert(*lora_lm("llama", seed=3)), tmp_path / "again", steps=2)
    assert first.manifest.initial == again.manifest.initial
    with pytest.raises(UsageError, match="initial"):
        record(completion_expert(*lora_lm("llama", seed=4)), steps=2)


def test_a_row_without_a_label_is_refused() -> None:
    lm, layout, rows = lora_lm("llama")
    labels = (*rows.labels[:2], np.full_like(rows.labels[2], IGNORED), rows.labels[3])
    with pytest.raises(UsageError, match="the first is row 2"):
        completion_expert(lm, layout, LabelledRows(rows.rows, labels))


@pytest.mark.parametrize("pattern", ["*", "*.layer.1.*, classifier.*"])
def test_a_classifier_is_replayed_from_its_kept_batches(
    record: Record, make_letters: Callable[[], tuple[TextClassifier, EncodedRows]], pattern: str
) -> None:
    classifier, encoded = make_letters()
    layout = train_only(classifier.model, pattern)
    targets = np.eye(3)[[0, 1, 2, 0, 1]]
    with classification_expert(classifier, layout, encoded, targets) as expert_model:
        found = record(expert_model, steps=4, batch_size=2, optimizer=ExpertOptimizer("sgd", 0.1))
    names = dict(classifier.model.named_parameters())
    assert (len(layout.names) == len(names)) == (pattern == "*")
    parameters = [names[name] for name in layout.names]
    nn.utils.vector_to_parameters(found.state(0, 1), parameters)
    for batch in found.batches[0, 2:4]:
        losses = [
            functional.cross_entropy(
                classifier.model(input_ids=torch.tensor(encoded.ids[row])[None].long()).logits,
                torch.tensor(targets[[row]]).float(),
            )
            for row in batch
        ]
        gradients = torch.autograd.grad(torch.stack(losses).mean(), parameters, allow_unused=True)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                if gradient is not None:
                    parameter -= 0.1 * gradient
    reached = nn.utils.parameters_to_vector(parameters)
    assert matching_loss(reached, found.state(0, 1), found.state(0, 2)) < 1e-8


def test_a_pattern_freezes_what_it_does_not_name(
    make_letters: Callable[[], tuple[TextClassifier, EncodedRows]],
) -> None:
    model = make_letters()[0].model
    layout = train_only(model, "classifier.*")
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert trained == list(layout.names) == ["classifier.weight", "classifier.bias"]
    with pytest.raises(UsageError, match="no parameter's name matches 'nothing'"):
        train_only(model, "nothing")
