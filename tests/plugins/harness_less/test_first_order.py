"""What the scores promise: the target's loss falls as predicted, and planted rows are found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from less_world import Scene, make_context, make_scene, planted_task, small
from scipy.stats import spearmanr
from torch import Tensor

from harness.budget import Budget
from harness.kit.gradients.column_blocks import products
from harness.kit.gradients.projection.kinds import new_projector
from harness.kit.language.loss import example_losses
from harness.kit.training.loop import build_optimizer
from harness.protocols import Student
from harness_instruct.students.families import Gpt2, Llama, Opt
from harness_less.features import FlawDetector
from harness_less.scores import exact_scores
from harness_less.target_gradients import TargetGradients

RATE = 1e-4


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """One checkpoint, one subtask, no dropout."""
    return make_scene(
        tmp_path_factory.mktemp("run"), planted_task(8, 8), epochs=1, batch_size=2, fraction=0.5,
        lora_dropout=0.0, target_rows=2,
    )  # fmt: skip


def target_loss(scene: Scene) -> Tensor:
    target = scene.target.encoded
    batch = target.batch(range(len(target)), scene.lm.pad_id, "cpu")
    with torch.no_grad():
        return example_losses(scene.lm.model, batch).double().mean()


def change_after_a_step(scene: Scene, row: int, encoded: Any) -> float:
    """Trains on one row for one step of the optimiser as the warm-up left it."""
    checkpoint = scene.checkpoints[0]
    optimizer = build_optimizer(scene.lm.model, RATE, weight_decay=0.0)
    checkpoint.put_weights(scene.lm.model, scene.layout)
    checkpoint.put_moments(optimizer, scene.lm.model, scene.layout)
    before = target_loss(scene)
    batch = encoded.batch([row], scene.lm.pad_id, "cpu")
    example_losses(scene.lm.model, batch).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    return float(target_loss(scene) - before)


def test_predicted_and_actual_change_of_the_targets_loss_agree(run: Scene, tmp_path: Path) -> None:
    """To first order it is -rate <Gamma(row), gradient of the target's mean loss>."""
    work = run.work(tmp_path)
    features = work.training(0)
    plain = new_projector("none", run.layout.size, run.layout.size)
    gradients = TargetGradients(run.source, run.target).projected(plain)
    aim = torch.from_numpy(gradients.mean(0, keepdims=True))
    everything = np.arange(len(work.pool))
    dots, _ = products(features.blocks(work.pool.encoded, everything, FlawDetector()), aim)
    predicted = -RATE * dots[:, 0].numpy()
    actual = [change_after_a_step(run, row, work.pool.encoded) for row in everything]
    assert np.corrcoef(predicted, actual)[0, 1] > 0.99
    assert np.polyfit(predicted, actual, 1)[0] == pytest.approx(1, abs=0.1)


def test_rows_with_higher_scores_lower_the_targets_loss_more(run: Scene, tmp_path: Path) -> None:
    """A score leaves the length of a row's step out, so only the order is asked for."""
    work = run.work(tmp_path)
    actual = [change_after_a_step(run, row, work.pool.encoded) for row in range(len(work.pool))]
    assert spearmanr(exact_scores(work).scores, actual).statistic < -0.8


VARIANTS: dict[str, tuple[Student, dict[str, Any]]] = {
    "adam": (Llama(variant="tiny"), {}),
    "the published code's formula": (Llama(variant="tiny"), {"features": "adam_less_compat"}),
    "plain gradients": (Llama(variant="tiny"), {"features": "sgd"}),
    "centred, cosine with the mean": (
        Llama(variant="tiny"),
        {"centred": True, "aggregation": "cosine_of_mean"},
    ),
    "stored, sparse projection": (
        Llama(variant="tiny"),
        {"scoring": "store", "projection": "sparse", "dimensions": 512},
    ),
    "GPT-2": (Gpt2(variant="tiny"), {}),
    "OPT": (Opt(variant="tiny"), {}),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_planted_rows_are_found(variant: str, tmp_path: Path) -> None:
    """Of 60 rows 12 are like the target: chance finds 2.4 of them, and 8 in one draw of 14,000."""
    student, options = VARIANTS[variant]
    context = make_context(tmp_path, seed=1, student=student)
    data = small(**options).distill(planted_task(12, 48), Budget.parse("12rows"), context)
    assert data.indices is not None
    assert np.sum(data.indices < 12) >= 8
