"""Training on completions: the loss and its gradient against plain loops, and reproducibility."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from causal_models import FAMILIES, make_lm
from harness.context import StageContext
from harness.errors import UsageError
from harness.kit.language.causal_lm import CausalLM
from harness.kit.language.forward import CausalForward
from harness.kit.language.labelled_rows import IGNORED, LabelledRows
from harness.kit.language.loss import example_losses
from harness.kit.language.training import (
    accumulate_completion_gradient,
    completion_losses,
    mean_completion_loss,
    train_causal_lm,
)
from harness.kit.training.batching import EncodedRows
from harness.types import Recipe

EVERY = pytest.mark.parametrize("family", list(FAMILIES))
TEXTS = [
    ("Question: what colour is grass? Answer: ", "green"),
    ("what is white ", "snow and the cold answer"),
    ("the ", "answer"),
    ("Question: what colour is snow? ", "white and cold, not green"),
]


@pytest.fixture
def context(tmp_path: Path) -> StageContext:
    return StageContext(seed=5, workdir=tmp_path)


def encoded(lm: CausalLM) -> LabelledRows:
    return lm.encoder().encode(TEXTS, end=True)


def plain_loss(lm: CausalLM, rows: LabelledRows, row: int) -> Tensor:
    """One row by itself, unpadded, with logits of every token."""
    ids = torch.from_numpy(rows.rows.ids[row].astype(np.int64))[None]
    labels = torch.from_numpy(rows.labels[row])
    logits = lm.model(input_ids=ids).logits[0, :-1]
    return functional.cross_entropy(logits, labels[1:], ignore_index=IGNORED)


def forward_of(lm: CausalLM, rows: LabelledRows) -> CausalForward:
    return CausalForward(lm.model, rows.rows, lm.pad_id, lm.device)


@EVERY
def test_a_rows_loss_is_its_own_mean_whatever_stands_beside_it(family: str) -> None:
    lm = make_lm(family, dtype=torch.float64)
    rows = encoded(lm)
    order = np.array([2, 0, 3, 1])
    with torch.no_grad():
        found = completion_losses(forward_of(lm, rows), rows, order)
        expected = torch.stack([plain_loss(lm, rows, row) for row in order])
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_the_loss_is_the_one_that_per_example_gradients_use() -> None:
    lm = make_lm(dtype=torch.float64)
    rows = encoded(lm)
    left = LabelledRows(EncodedRows(rows.rows.ids, side="left"), rows.labels)
    everything = np.arange(len(rows))
    with torch.no_grad():
        theirs = example_losses(lm.model, left.batch(everything, lm.pad_id, lm.device))
        ours = completion_losses(forward_of(lm, rows), rows, everything)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


@EVERY
def test_the_gradient_is_that_of_the_weighted_mean_of_the_rows(family: str) -> None:
    lm = make_lm(family, dtype=torch.float64)
    rows = encoded(lm)
    weights = np.array([1.0, 0.25, 3.0, 0.5])
    batch = np.array([3, 0, 2])
    plain = sum(weights[row] * plain_loss(lm, rows, row) for row in batch) / weights[batch].sum()
    plain.backward()
    expected = {name: p.grad.clone() for name, p in lm.model.named_parameters()}
    lm.model.zero_grad()
    shares = torch.from_numpy(weights)
    loss = accumulate_completion_gradient(forward_of(lm, rows), rows, batch, shares)
    torch.testing.assert_close(loss, plain.detach(), rtol=1e-9, atol=1e-9)
    for name, parameter in lm.model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-7, atol=1e-9)


def test_bfloat16_is_near() -> None:
    lm = make_lm()
    rows = encoded(lm)
    shares, batch = torch.ones(len(rows)), np.arange(len(rows))
    forward = forward_of(lm, rows)
    exact = accumulate_completion_gradient(forward, rows, batch, shares)
    rounded = accumulate_completion_gradient(forward, rows, batch, shares, "bfloat16")
    assert float(exact) == pytest.approx(float(rounded), rel=0.05)
    assert float(exact) != float(rounded)


def trained(
    context: StageContext,
    recipe: Recipe,
    *,
    family: str = "llama",
    weights: np.ndarray | None = None,
) -> tuple[CausalLM, LabelledRows]:
    lm = make_lm(family)
    rows = encoded(lm)
    train_causal_lm(lm, rows, np.ones(len(rows)) if weights is None else weights, recipe, context)
    return lm, rows


RECIPE = Recipe(steps=30, batch_size=2, learning_rate=1e-2, warmup=0.1)


@EVERY
def test_training_makes_the_completions_probable(family: str, context: StageContext) -> None:
    before = mean_completion_loss(make_lm(family), encoded(make_lm(family)))
    lm, rows = trained(context, RECIPE, family=family)
    assert mean_completion_loss(lm, rows) < before / 2
    assert not lm.model.training
    assert len(context.curves["loss"].values) == RECIPE.steps


def test_the_seed_decides_all_weights(context: StageContext, tmp_path: Path) -> None:
    first, again = (trained(context, RECIPE)[0].model.state_dict() for _ in range(2))
    other = trained(StageContext(6, tmp_path), RECIPE)[0].model.state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_rows_of_no_weight_are_as_if_they_were_not_there(context: StageContext) -> None:
    lm, _ = trained(context, RECIPE, weights=np.array([1.0, 0.0, 1.0, 0.0]))
    alone = make_lm()
    few = alone.encoder().encode([TEXTS[0], TEXTS[2]], end=True)
    train_causal_lm(alone, few, np.ones(2), RECIPE, context)
    for name, value in alone.model.state_dict().items():
        assert torch.equal(lm.model.state_dict()[name], value)


def test_a_compact_embedding_is_the_dense_one(
    context: StageContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Llama's input embedding is its own, so the rows of unseen tokens are left out."""
    compact, _ = trained(context, RECIPE)
    monkeypatch.setattr("harness.kit.language.training.compactable", lambda *_: None)
    dense, _ = trained(context, RECIPE)
    for name, value in dense.model.state_dict().items():
        torch.testing.assert_close(compact.model.state_dict()[name], value, rtol=1e-5, atol=1e-6)


def test_the_best_checkpoint_on_validation_is_kept(context: StageContext) -> None:
    lm = make_lm()
    rows = encoded(lm)
    losses: list[float] = []

    def validation() -> float:
        losses.append(mean_completion_loss(lm, rows))
        return losses[-1]

    recipe = Recipe(steps=20, batch_size=2, learning_rate=1e-2, checkpoint="validation")
    train_causal_lm(lm, rows, np.ones(len(rows)), recipe, context, validation=validation)
    assert len(losses) == recipe.evaluations
    assert mean_completion_loss(lm, rows) == pytest.approx(max(losses), rel=1e-5)


def test_a_row_without_a_label_is_named(context: StageContext) -> None:
    lm = make_lm()
    rows = encoded(lm)
    labels = (*rows.labels[:2], np.full_like(rows.labels[2], IGNORED), rows.labels[3])
    with pytest.raises(UsageError, match="1 rows have no token to learn from; the first is row 2"):
        train_causal_lm(lm, LabelledRows(rows.rows, labels), np.ones(4), RECIPE, context)
    with pytest.raises(UsageError, match="positive weight"):
        train_causal_lm(lm, rows, np.zeros(4), RECIPE, context)
