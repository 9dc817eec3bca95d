"""From gradients to scores: predicted changes of a loss happen, and planted rows are found."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim import AdamW

from harness.kit.gradients.adam_direction import AdamState
from harness.kit.gradients.column_blocks import products
from harness.kit.gradients.feature_manifest import FeatureManifest
from harness.kit.gradients.feature_store import FeatureStore
from harness.kit.gradients.influence import influence_scores, select_top
from harness.kit.gradients.per_example.hooks import HookGradients
from harness.kit.gradients.projection.kinds import new_projector
from harness.kit.language.labelled_rows import LabelledRows
from harness.kit.language.loss import example_losses
from harness.kit.training.batching import EncodedRows, length_groups
from harness.kit.training.parameter_layout import ParameterLayout

from .conftest import PAD, VOCABULARY, make_model, make_rows

LENGTHS = (9, 4, 12, 6, 7, 7, 5, 11)


def everything(rows: LabelledRows) -> dict[str, Tensor]:
    return rows.batch(range(len(rows)), PAD, "cpu")


def warmed(model: nn.Module, rows: LabelledRows, rate: float = 1e-3) -> AdamW:
    """A few updates, so that Adam has moments."""
    optimizer = AdamW([p for p in model.parameters() if p.requires_grad], rate, weight_decay=0.0)
    for _ in range(3):
        optimizer.zero_grad()
        example_losses(model, everything(rows)).mean().backward()
        optimizer.step()
    optimizer.zero_grad()
    return optimizer


def test_the_product_of_directions_is_the_change_of_the_target_loss_by_one_step() -> None:
    """By Taylor it is -rate <direction, target gradient>, up to the square of the rate."""
    rate = 1e-7
    model = make_model("gpt2, all weights, tied head", torch.float64)
    pool, target = make_rows(LENGTHS), make_rows((8, 5), seed=1)
    optimizer = warmed(model, pool)
    for group in optimizer.param_groups:
        group["lr"] = rate
    layout = ParameterLayout.of(model)
    state = AdamState.of(optimizer, model, layout)
    backend = HookGradients(model, example_losses, layout, torch.float64)
    aim = backend.matrix(everything(target)).mean(0, keepdim=True)
    blocks = (state.direction(block) for block in backend.blocks(everything(pool)))
    predicted = -rate * products(blocks, aim)[0][:, 0]
    before = example_losses(model, everything(target)).mean()
    changes = []
    for row in range(len(pool)):
        other, own = copy.deepcopy((model, optimizer))
        example_losses(other, pool.batch([row], PAD, "cpu")).sum().backward()
        own.step()
        changes.append(example_losses(other, everything(target)).mean() - before)
    torch.testing.assert_close(predicted, torch.stack(changes).detach(), rtol=1e-3, atol=1e-12)


@pytest.mark.parametrize("kind", ["none", "rademacher", "sparse", "srht"])
def test_projecting_block_by_block_is_projecting_the_directions(kind: str) -> None:
    model, pool = make_model("llama with LoRA"), make_rows(LENGTHS)
    layout = ParameterLayout.of(model)
    state = AdamState.of(warmed(model, pool), model, layout)
    backend = HookGradients(model, example_losses, layout)
    projector = new_projector(kind, layout.size, 64)
    streamed = projector.project_blocks(
        state.direction(block) for block in backend.blocks(everything(pool))
    )
    flat = state.first * 0.9 + backend.matrix(everything(pool)) * 0.1
    squares = state.second * 0.999 + backend.matrix(everything(pool)).square() * 0.001
    directions = flat / (1 - 0.9**4) / ((squares / (1 - 0.999**4)).sqrt() + 1e-8)
    torch.testing.assert_close(streamed, projector.project(directions), rtol=1e-4, atol=1e-4)


def counting_rows(count: int, *, counting: bool, seed: int) -> LabelledRows:
    """Rows in which every token is the one before plus one, or in which none follows from it."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(4, 12, size=count)
    ids = []
    for length in lengths:
        start = int(generator.integers(VOCABULARY))
        row = (start + np.arange(length)) % (VOCABULARY - 1) + 1
        ids.append(row if counting else generator.integers(1, VOCABULARY, size=length))
    return LabelledRows(EncodedRows(tuple(ids)), tuple(ids))


@pytest.mark.parametrize("kind", ["none", "rademacher", "sparse", "srht"])
def test_rows_like_the_target_are_found_among_others_through_a_store(
    kind: str, tmp_path: Path
) -> None:
    """Of 120 rows 30 are like the target: chance finds a quarter of them, with deviation .07."""
    model = make_model("llama with LoRA")
    like, unlike = (
        counting_rows(30, counting=True, seed=0),
        counting_rows(90, counting=False, seed=1),
    )
    pool = LabelledRows(EncodedRows(like.rows.ids + unlike.rows.ids), like.labels + unlike.labels)
    layout = ParameterLayout.of(model)
    backend = HookGradients(model, example_losses, layout)
    projector = new_projector(kind, layout.size, 512)
    manifest = FeatureManifest(
        model="m",
        template="t",
        checkpoint="0",
        layout=layout.digest,
        data="pool",
        feature="sgd",
        projector=projector.manifest(),
        rows=len(pool),
        dtype="float16",
    )
    store = FeatureStore.open(tmp_path, manifest)
    for group in length_groups(pool.rows.lengths, 8, overhead=20):
        blocks = backend.blocks(pool.batch(group, PAD, "cpu"))
        store.write(group, projector.project_blocks(blocks).numpy())
    aims = counting_rows(30, counting=True, seed=2)
    target = projector.project_blocks(backend.blocks(everything(aims))).numpy()
    found = influence_scores([store.features], [target], {"counting": range(30)}, [1.0])
    chosen = select_top(found, 30)
    assert np.mean(chosen < 30) > 0.25 + 5 * 0.07
