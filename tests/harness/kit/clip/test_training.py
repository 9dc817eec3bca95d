"""Training on images with captions: losses, the temperature, visits, and exact accumulation."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from clip_models import coloured_rows, tiny_clip
from harness.context import StageContext
from harness.errors import DivergenceError, UsageError
from harness.kit.clip.contrastive.features import ClipFeatures
from harness.kit.clip.contrastive.pair_losses import contrastive_loss
from harness.kit.clip.model import ClipModel
from harness.kit.clip.training import (
    LARGEST_SCALE,
    ClipBatch,
    ContrastiveObjective,
    encode_batch,
    mean_contrastive_loss,
    train_clip,
)
from harness.types import Recipe

RECIPE = Recipe(steps=12, batch_size=8, learning_rate=2e-3, warmup=0.1)


def _context(folder: Path, seed: int = 0) -> StageContext:
    return StageContext(seed=seed, workdir=folder)


def _batch(model: ClipModel, rows: int = 9) -> ClipBatch:
    made = coloured_rows(rows)
    return ClipBatch(
        rows=np.arange(rows),
        visits=np.zeros(rows, dtype=np.int64),
        images=model.pixels(made.images).to(next(model.model.parameters()).dtype),
        tokens=model.tokens(made.captions),
        weights=torch.ones(rows),
    )


class _Recording(ContrastiveObjective):
    """Writes down what it is given, and owns one parameter."""

    def __init__(self) -> None:
        self.own = nn.Parameter(torch.ones(3))
        self.seen: list[ClipBatch] = []
        self.steps: list[tuple[int, int]] = []
        self.after: list[tuple[int, float]] = []

    def parameters(self) -> Iterable[nn.Parameter]:
        return [self.own]

    def loss(self, model: ClipModel, batch: ClipBatch, step: int, steps: int) -> Tensor:
        self.seen.append(batch)
        self.steps.append((step, steps))
        return super().loss(model, batch, step, steps) + self.own.square().sum()

    def after_step(self, model: ClipModel, step: int) -> None:
        self.after.append((step, model.model.logit_scale.item()))


def test_training_lowers_the_loss_the_same_way_for_the_same_seed(tmp_path: Path) -> None:
    rows = coloured_rows()
    models = []
    for seed in (0, 0, 1):
        model, context = tiny_clip(), _context(tmp_path, seed)
        train_clip(model, rows, np.ones(len(rows)), ContrastiveObjective(), RECIPE, context)
        models.append(model)
        assert context.curves["loss"].values[-1] < context.curves["loss"].values[0]
    texts = [model.encode_text(rows.captions) for model in models]
    assert np.array_equal(texts[0], texts[1])
    assert not np.array_equal(texts[0], texts[2])
    assert not models[0].model.training


def test_rows_of_no_weight_are_never_drawn_and_visits_count_the_draws(tmp_path: Path) -> None:
    rows, objective = coloured_rows(12), _Recording()
    weights = np.ones(12)
    weights[[0, 7]] = 0
    train_clip(tiny_clip(), rows, weights, objective, RECIPE, _context(tmp_path))
    drawn = [(int(r), int(v)) for b in objective.seen for r, v in zip(b.rows, b.visits)]  # noqa: B905
    assert len(set(drawn)) == len(drawn) == 12 * 8
    for row in {0, 7} ^ set(range(12)):
        visits = [v for r, v in drawn if r == row]
        assert visits == list(range(len(visits)))
    assert not {0, 7} & {row for row, _ in drawn}
    first = objective.seen[0]
    assert first.images.shape == (8, 3, 8, 8)
    assert first.tokens.shape == (8, 10)


def test_an_objectives_own_parameters_learn_and_hear_of_every_step(tmp_path: Path) -> None:
    rows, objective, model = coloured_rows(), _Recording(), tiny_clip()
    names = set(model.model.state_dict())
    train_clip(model, rows, np.ones(24), objective, RECIPE, _context(tmp_path))
    assert float(objective.own.detach().abs().max()) < 1
    assert objective.steps == [(step, 12) for step in range(12)]
    assert [step for step, _ in objective.after] == list(range(12))
    assert set(model.model.state_dict()) == names


@pytest.mark.parametrize(("direction", "end"), [(1, LARGEST_SCALE), (-1, 0.0)])
def test_the_temperature_stays_in_its_range_after_large_steps(
    tmp_path: Path, direction: int, end: float
) -> None:
    class Pushing(_Recording):
        def loss(self, model: ClipModel, batch: ClipBatch, step: int, steps: int) -> Tensor:
            return super().loss(model, batch, step, steps) * 0 - direction * model.model.logit_scale

    objective = Pushing()
    recipe = Recipe(steps=3, batch_size=8, learning_rate=5.0, warmup=0.0, schedule="constant")
    train_clip(tiny_clip(), coloured_rows(), np.ones(24), objective, recipe, _context(tmp_path))
    assert [scale for _, scale in objective.after] == pytest.approx([end] * 3)


def test_the_temperature_does_not_decay(tmp_path: Path) -> None:
    class Still(_Recording):
        def loss(self, model: ClipModel, batch: ClipBatch, step: int, steps: int) -> Tensor:
            return super().loss(model, batch, step, steps) * 0

    model = tiny_clip()
    recipe = Recipe(steps=12, batch_size=8, learning_rate=0.1, weight_decay=0.5, warmup=0.0)
    before = float(model.model.token_embedding.weight.detach().norm())
    train_clip(model, coloured_rows(), np.ones(24), Still(), recipe, _context(tmp_path))
    assert model.model.logit_scale.item() == pytest.approx(math.log(1 / 0.07))
    assert float(model.model.token_embedding.weight.detach().norm()) < before


@pytest.mark.parametrize("bias", [None, -3.0])
def test_a_batch_in_parts_has_the_gradient_of_the_large_one_the_temperatures_included(
    bias: float | None,
) -> None:
    gradients = []
    for size in (0, 4, 1):
        model = tiny_clip(bias=bias)
        model.model.double()
        model.training_rows = size
        contrastive_loss(encode_batch(model, _batch(model))).backward()
        gradients.append({n: p.grad.clone() for n, p in model.model.named_parameters()})
    whole, *others = gradients
    assert float(whole["logit_scale"]) != 0
    for parts in others:
        for name, gradient in whole.items():
            torch.testing.assert_close(parts[name], gradient, rtol=1e-9, atol=1e-14)


def test_a_batch_in_parts_keeps_the_activations_of_one_part() -> None:
    def kept(size: int) -> int:
        model = tiny_clip()
        model.training_rows = size
        batch = _batch(model, 16)
        stored: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            stored[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            contrastive_loss(encode_batch(model, batch))
        return sum(stored.values())

    assert kept(4) < kept(0) / 4


def test_validation_loss_weighs_every_row_once_and_leaves_none_alone() -> None:
    model, rows = tiny_clip(), coloured_rows(9)
    images, texts = (
        torch.from_numpy(part)
        for part in (model.encode_images(rows.images), model.encode_text(rows.captions))
    )
    scale = model.model.logit_scale.exp().detach()
    parts = [slice(0, 4), slice(4, 9)]
    losses = [
        float(contrastive_loss(ClipFeatures(images[p], texts[p], scale, None))) for p in parts
    ]
    expected = (4 * losses[0] + 5 * losses[1]) / 9
    assert mean_contrastive_loss(model, rows, 4) == pytest.approx(expected, rel=1e-5)


def test_the_best_checkpoint_on_validation_is_kept(tmp_path: Path) -> None:
    model, scores, kept = tiny_clip(), iter([0.1, 0.9, 0.3]), []

    def validation() -> float:
        kept.append(model.model.logit_scale.item())
        return next(scores)

    recipe = Recipe(steps=9, batch_size=8, learning_rate=2e-2, checkpoint="validation",
                    evaluations=3)  # fmt: skip
    train_clip(
        model, coloured_rows(), np.ones(24), ContrastiveObjective(), recipe, _context(tmp_path),
        validation=validation,
    )  # fmt: skip
    assert model.model.logit_scale.item() == kept[1] != kept[2]


def test_bfloat16_trains_and_losses_stay_in_float32(tmp_path: Path) -> None:
    class Looking(_Recording):
        def loss(self, model: ClipModel, batch: ClipBatch, step: int, steps: int) -> Tensor:
            made = encode_batch(model, batch)
            assert made.logits.dtype == torch.float32
            with batch.autocast():
                inner = model.model.visual.conv1(batch.images)
            assert inner.dtype == torch.bfloat16
            return contrastive_loss(made)

    recipe = Recipe(steps=3, batch_size=8, dtype="bfloat16")
    train_clip(tiny_clip(), coloured_rows(), np.ones(24), Looking(), recipe, _context(tmp_path))


def test_a_batch_of_one_row_is_refused(tmp_path: Path) -> None:
    for rows, batch_size in ((1, 8), (24, 1)):
        with pytest.raises(UsageError, match="two rows a batch"):
            train_clip(
                tiny_clip(), coloured_rows(rows), np.ones(rows), ContrastiveObjective(),
                Recipe(steps=2, batch_size=batch_size), _context(tmp_path),
            )  # fmt: skip


def test_a_loss_that_is_not_finite_is_divergence(tmp_path: Path) -> None:
    class Broken(_Recording):
        def loss(self, model: ClipModel, batch: ClipBatch, step: int, steps: int) -> Tensor:
            return super().loss(model, batch, step, steps) * math.nan

    with pytest.raises(DivergenceError, match="step 1"):
        train_clip(tiny_clip(), coloured_rows(), np.ones(24), Broken(), RECIPE, _context(tmp_path))
