"""Affinity mimicking against open_clip's distillation loss, and the scales it works with."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from open_clip.loss import ClipLoss, DistillClipLoss
from tiny_world import RECIPE, STUDENT, TASK, make_context, make_teacher, pairs_of

from harness.errors import UsageError
from harness.kit.clip.image_rows import image_text_rows
from harness.kit.clip.model import ClipModel
from harness.kit.clip.training import train_clip
from harness_tinyclip.mimicking import MimickingObjective
from harness_tinyclip.options import TinyClipOptions
from resolved import resolved
from toy_clips import batch_of


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> ClipModel:
    return make_teacher(tmp_path_factory.mktemp("world"))


@pytest.fixture
def student(tmp_path: Path) -> ClipModel:
    return STUDENT.build(TASK, make_context(tmp_path))


def loss_of(student: ClipModel, teacher: ClipModel, **options: Any) -> float:
    objective = MimickingObjective(TinyClipOptions(**options), pairs_of(teacher), student)
    return objective.loss(student, batch_of(student, TASK, [4, 9, 2, 30, 17]), 0, 1).item()


def peers(student: ClipModel, teacher: ClipModel, scale: float = 0.0) -> tuple[float, float]:
    """open_clip's contrastive and distillation losses, the teacher asked anew."""
    batch = batch_of(student, TASK, [4, 9, 2, 30, 17])
    with torch.no_grad():
        own = student.model(batch.images, batch.tokens)
        others = list(teacher.model(batch.images, batch.tokens))
    if scale:
        others[2] = torch.tensor(scale)
    soft = DistillClipLoss()(*own, *others, output_dict=True)["distill_loss"]
    return ClipLoss()(*own).item(), soft.item()


def test_it_is_open_clips_distillation_loss(student: ClipModel, teacher: ClipModel) -> None:
    _, soft = peers(student, teacher)
    assert loss_of(student, teacher) == pytest.approx(soft, rel=1e-5)


def test_weights_mix_the_soft_and_the_hard_loss(student: ClipModel, teacher: ClipModel) -> None:
    hard, soft = peers(student, teacher)
    found = loss_of(student, teacher, alpha=0.25, weight=3.0)
    assert found == pytest.approx(3.0 * (0.25 * soft + 0.75 * hard), rel=1e-5)
    assert loss_of(student, teacher, alpha=0.0) == pytest.approx(hard, rel=1e-5)


def test_another_teacher_scale_gives_other_targets(student: ClipModel, teacher: ClipModel) -> None:
    _, native = peers(student, teacher)
    _, fifty = peers(student, teacher, scale=50.0)
    assert abs(native - fifty) > 1e-3
    assert loss_of(student, teacher, teacher_scale=50.0) == pytest.approx(fifty, rel=1e-5)


@pytest.mark.parametrize(("fixed", "expected"), [(50.0, 50.0), (0.0, None)])
def test_the_students_scale_is_set_after_every_step_or_learnt(
    student: ClipModel, teacher: ClipModel, tmp_path: Path, fixed: float, expected: float | None
) -> None:
    options = TinyClipOptions(student_scale=fixed, teacher_scale=fixed)
    objective = MimickingObjective(options, pairs_of(teacher), student)
    rows = image_text_rows(TASK.train, student.image)
    train_clip(student, rows, np.ones(48), objective, RECIPE, make_context(tmp_path))
    curves = objective.curves()
    scales, last = curves["student scale"], student.model.logit_scale.exp().item()
    assert len(scales) == len(curves["loss"]) == len(curves["teacher scale"]) == RECIPE.steps
    if expected is not None:
        assert scales.tolist() == pytest.approx([expected] * RECIPE.steps, rel=1e-5)
        assert last == pytest.approx(expected, rel=1e-5)
        assert set(curves["teacher scale"]) == {50.0}
    else:
        assert len(set(scales.tolist())) > 2
        assert scales[0] == pytest.approx(1 / 0.07, rel=1e-5)


def test_the_students_scale_stays_below_a_hundred_after_a_large_step(
    student: ClipModel, teacher: ClipModel, tmp_path: Path
) -> None:
    objective = MimickingObjective(TinyClipOptions(), pairs_of(teacher), student)
    rows = image_text_rows(TASK.train, student.image)
    recipe = RECIPE.__class__(steps=2, batch_size=16, learning_rate=20.0, warmup=0.0)
    train_clip(student, rows, np.ones(48), objective, recipe, make_context(tmp_path))
    assert 0 <= student.model.logit_scale.item() <= math.log(100) + 1e-6


def test_the_teacher_has_no_gradient(student: ClipModel, teacher: ClipModel) -> None:
    pairs = pairs_of(teacher)
    objective = MimickingObjective(TinyClipOptions(), pairs, student)
    objective.loss(student, batch_of(student, TASK, [0, 1, 2]), 0, 1).backward()
    assert student.model.visual.proj.grad is not None
    assert not pairs.image.requires_grad
    assert all(parameter.grad is None for parameter in teacher.model.parameters())


class TestOptions:
    def test_steps_are_divided_without_losing_one(self) -> None:
        assert TinyClipOptions(inherit="manual", stages=3).stage_steps(100) == [33, 34, 33]
        assert TinyClipOptions(stages=2, shares=(1, 3)).stage_steps(10) == [2, 8]

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"stages": 0}, "stages = 0"),
            ({"inherit": "none", "stages": 2}, "1 without inheritance"),
            ({"stages": 2, "shares": (1.0,)}, "one for each stage"),
            ({"stages": 2, "shares": (1.0, 0.0)}, "should be a list of numbers, above 0"),
            ({"alpha": 1.5}, "alpha = 1.5"),
            ({"mask_share": 1.0}, "mask_share = 1"),
            ({"teacher_scale": 0.5}, "teacher_scale = 0.5"),
            ({"student_scale": 101.0}, "student_scale = 101"),
            ({"weight": 0.0}, "weight = 0.0: should be a number, above 0 and finite"),
            ({"inherit": "auto", "masks": ()}, "nothing to learn"),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(UsageError, match=message):
            resolved(TinyClipOptions, **options)
