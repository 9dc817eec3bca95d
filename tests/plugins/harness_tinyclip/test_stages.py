"""Stages: steps that add up, sizes that are met, models that inherit, kills that change nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_world import RECIPE, STUDENT, TASK, make_context, make_stages, make_teacher

from harness.errors import UsageError
from harness.kit.clip.model import ClipModel
from harness.kit.clip.shape import LayerShape, shape_of
from harness.kit.clip.training import encode_batch
from harness_tinyclip import stages as stages_module
from harness_tinyclip.inheritance.shapes import shape_between, sizes_between
from harness_tinyclip.mimicking import MimickingObjective
from toy_clips import batch_of


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> ClipModel:
    return make_teacher(tmp_path_factory.mktemp("world"))


def steps_of(curves: list[Any]) -> list[int]:
    return [len(part["loss"]) for part in curves]


def parameters(model: ClipModel) -> int:
    return sum(parameter.numel() for parameter in model.model.parameters())


def same(one: ClipModel, other: ClipModel) -> bool:
    left, right = one.model.state_dict(), other.model.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[n], right[n]) for n in left)


def test_without_inheritance_the_student_starts_from_its_own_weights(
    teacher: ClipModel, tmp_path: Path
) -> None:
    run = make_stages(tmp_path, teacher, inherit="none")
    before = STUDENT.build(TASK, make_context(tmp_path))
    assert same(run.student, before)
    after = run.run()
    assert steps_of(run.curves) == [RECIPE.steps]
    assert shape_of(after.model) == shape_of(before.model)
    assert not same(after, before)


def test_one_stage_sees_the_batches_of_any_other_method(
    teacher: ClipModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    real = MimickingObjective.loss

    def spy(self: Any, model: Any, batch: Any, step: int, steps: int) -> Any:
        seen.append(batch.rows)
        return real(self, model, batch, step, steps)

    monkeypatch.setattr(MimickingObjective, "loss", spy)
    for inherit in ("none", "manual"):
        make_stages(tmp_path, teacher, inherit=inherit).run()
    assert np.array_equal(np.stack(seen[:8]), np.stack(seen[8:]))


def test_a_student_that_inherits_starts_from_the_teachers_weights(
    teacher: ClipModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []

    def no_training(model: ClipModel, *args: Any, **kwargs: Any) -> None:
        started.append(model.model.visual.proj.detach().clone())

    monkeypatch.setattr(stages_module, "train_on_task", no_training)
    make_stages(tmp_path, teacher, inherit="manual").run()
    assert torch.equal(started[0], teacher.model.visual.proj[:16, :8])


def test_manual_stages_pass_through_shapes_in_between(teacher: ClipModel, tmp_path: Path) -> None:
    run = make_stages(tmp_path, teacher, inherit="manual", stages=2)
    after = run.run()
    assert steps_of(run.curves) == [4, 4]
    assert shape_of(after.model) == shape_of(run.student.model)
    middle = run._smaller(0, 2)
    assert shape_of(middle.model).image.width == round(32 * 0.5**0.5)
    assert shape_of(middle.model).text.layers == (LayerShape(3, 8, 91),) * 3


@pytest.mark.parametrize("stages", [1, 2])
def test_automatic_stages_reach_the_students_size(
    teacher: ClipModel, tmp_path: Path, stages: int
) -> None:
    run = make_stages(tmp_path, teacher, inherit="auto", stages=stages)
    wanted = parameters(run.student)
    after = run.run()
    assert sum(steps_of(run.curves)) == RECIPE.steps
    assert len(run.curves) == 2 * stages
    assert parameters(after) == pytest.approx(wanted, rel=0.05)
    assert after.info.parameters == parameters(after)
    assert after.info.name == run.student.info.name
    assert "folded to" in after.info.source
    assert "attention and feed-forward" in after.info.source
    after.save(tmp_path / "saved")
    assert same(ClipModel.load(tmp_path / "saved"), after)


def test_the_masks_give_way_before_the_fold(teacher: ClipModel, tmp_path: Path) -> None:
    recipe = RECIPE.__class__(steps=40, batch_size=16, learning_rate=1e-3)
    run = make_stages(tmp_path, teacher, recipe, inherit="auto", mask_share=0.9)
    run.run()
    sparsity = run.curves[0]["expected sparsity"]
    target = 1 - parameters(run.student) / parameters(teacher)
    assert len(sparsity) == 36
    assert sparsity[0] < 0.1 < 0.9 * target < sparsity[-1]


def test_the_teacher_stays_as_it_was(teacher: ClipModel, tmp_path: Path) -> None:
    before = {name: value.clone() for name, value in teacher.model.state_dict().items()}
    make_stages(tmp_path, teacher, inherit="auto").run()
    assert all(torch.equal(before[n], v) for n, v in teacher.model.state_dict().items())
    assert teacher.model.training is False


@pytest.mark.parametrize("inherit", ["manual", "auto"])
def test_a_run_that_is_killed_goes_on_and_gives_the_same_model(
    teacher: ClipModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inherit: str
) -> None:
    options = {"inherit": inherit, "stages": 2}
    whole = make_stages(tmp_path / "whole", teacher, **options)
    expected = whole.run()
    real, calls = stages_module.train_on_task, []

    def killed(*args: Any, **kwargs: Any) -> None:
        calls.append(args)
        if len(calls) == len(whole.curves):
            raise KeyboardInterrupt
        real(*args, **kwargs)

    monkeypatch.setattr(stages_module, "train_on_task", killed)
    with pytest.raises(KeyboardInterrupt):
        make_stages(tmp_path / "killed", teacher, **options).run()
    monkeypatch.setattr(stages_module, "train_on_task", real)
    again = make_stages(tmp_path / "killed", teacher, **options)
    counted: list[int] = []
    monkeypatch.setattr(
        stages_module, "train_on_task", lambda *a, **k: (counted.append(1), real(*a, **k))
    )
    assert same(again.run(), expected)
    assert len(counted) == 1
    assert steps_of(again.curves) == steps_of(whole.curves)


def test_rates_of_the_grid_do_not_share_what_is_kept(teacher: ClipModel, tmp_path: Path) -> None:
    recipes = [RECIPE.__class__(steps=8, batch_size=16, learning_rate=r) for r in (1e-3, 3e-3)]
    models = [
        make_stages(tmp_path, teacher, recipe, inherit="manual", stages=2).run()
        for recipe in recipes
    ]
    alone = make_stages(tmp_path / "alone", teacher, recipes[1], inherit="manual", stages=2).run()
    assert same(models[1], alone)
    assert not same(models[0], models[1])


def test_masks_are_trained_with_the_stored_teacher(teacher: ClipModel, tmp_path: Path) -> None:
    """The stored embeddings are those that the live teacher gives on the same rows."""
    run = make_stages(tmp_path, teacher, inherit="auto")
    batch = batch_of(teacher, TASK, [3, 1, 40])
    with torch.no_grad():
        live = encode_batch(teacher, batch)
    stored = run.pairs.features(batch.rows)
    torch.testing.assert_close(stored.image, live.image, atol=1e-6, rtol=0)
    torch.testing.assert_close(stored.text, live.text, atol=1e-6, rtol=0)


class TestShapes:
    def test_sizes_fall_in_equal_ratios(self) -> None:
        assert sizes_between(1600, 100, 2) == [400, 100]
        assert sizes_between(1000, 125, 3) == [500, 250, 125]

    def test_both_ends_are_the_shapes_given(self, teacher: ClipModel, tmp_path: Path) -> None:
        large = shape_of(teacher.model)
        small = shape_of(STUDENT.build(TASK, make_context(tmp_path)).model)
        assert shape_between(large, small, 0.0, "even") == large
        assert shape_between(large, small, 1.0, "even") == small


class TestBadInput:
    def test_too_few_steps_are_refused(self, teacher: ClipModel, tmp_path: Path) -> None:
        recipe = RECIPE.__class__(steps=3, batch_size=16)
        with pytest.raises(UsageError, match="3 steps cannot be divided into 2 stages"):
            make_stages(tmp_path, teacher, recipe, inherit="auto", stages=2).run()

    def test_a_student_no_smaller_than_its_teacher_cannot_be_folded_to(
        self, tmp_path: Path
    ) -> None:
        small = STUDENT.build(TASK, make_context(tmp_path))
        with pytest.raises(UsageError, match="cannot be folded"):
            make_stages(tmp_path, small, inherit="auto").run()
