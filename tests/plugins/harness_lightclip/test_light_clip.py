"""LightCLIP as a distiller: each part can be off, nothing is left of it, every tower will do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.errors import UsageError
from harness.kit.clip.contrastive.pair_losses import clip_loss
from harness.kit.clip.model import ClipModel
from harness.kit.clip.student import build_clip_student
from harness.kit.clip.training import encode_batch
from harness.testing.image_text import toy_image_text_task
from harness.testing.text import toy_context
from harness.testing.toys import WordCounts, toy_task
from harness.types import Recipe
from harness_lightclip.light_clip import LightClip
from harness_lightclip.objective import LightClipObjective
from harness_lightclip.tokens import encode_tokens
from resolved import resolved
from toy_clips import ToyClip, batch_of

TASK = toy_image_text_task()
RECIPE = Recipe(steps=6, batch_size=8, learning_rate=3e-3, warmup=0.0)
OFF: dict[str, Any] = {"softening": 0.0, "token_weight": 0.0, "mlm_weight": 0.0}


def fitted(options: LightClip, folder: Path, student: ToyClip | None = None) -> ClipModel:
    task = TASK.sealed()
    return options.fit(task, student or ToyClip(), RECIPE, toy_context(folder))


def weights(model: ClipModel) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.model.state_dict().items()}


def objective(options: LightClip, folder: Path) -> tuple[LightClipObjective, ClipModel]:
    model = ToyClip().build(TASK, toy_context(folder))
    return LightClipObjective(options, model, toy_context(folder)), model


def test_with_every_part_off_the_student_is_the_plain_one(tmp_path: Path) -> None:
    from harness.types import DistilledData

    task = TASK.sealed()
    data = DistilledData.select(task, range(len(task.train)))
    plain = ToyClip().fit(task, data, RECIPE, toy_context(tmp_path))
    for name, tensor in weights(fitted(LightClip(**OFF), tmp_path)).items():
        assert torch.equal(tensor, plain.model.state_dict()[name]), name


@pytest.mark.parametrize("part", ["softening", "token_weight", "mlm_weight"])
def test_each_part_alone_changes_what_is_learnt(part: str, tmp_path: Path) -> None:
    plain = weights(fitted(LightClip(**OFF), tmp_path))
    found = weights(fitted(LightClip(**{**OFF, part: 0.3}), tmp_path))
    assert not all(torch.equal(found[name], plain[name]) for name in plain)


@pytest.mark.parametrize(
    "change",
    [
        {"matcher": "max"}, {"matcher": "sinkhorn"}, {"matcher": "k-to-1"}, {"token_negatives": 0},
        {"attention": "causal"}, {"fusion": False}, {"stages": (2,)}, {"negatives": "uniform"},
    ],
)  # fmt: skip
def test_every_choice_trains_and_is_another_method(change: dict, tmp_path: Path) -> None:
    default = weights(fitted(LightClip(), tmp_path))
    found = weights(fitted(LightClip(**change), tmp_path))
    assert all(tensor.isfinite().all() for tensor in found.values())
    assert not all(torch.equal(found[name], default[name]) for name in default)


def test_nothing_of_the_heads_is_left_in_the_saved_model(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    ToyClip().build(TASK, toy_context(tmp_path)).save(tmp_path / "plain")
    model = fitted(LightClip(), tmp_path)
    model.save(tmp_path / "light")
    plain, light = (load_file(tmp_path / name / "model.safetensors") for name in ("plain", "light"))
    assert {k: v.shape for k, v in light.items()} == {k: v.shape for k, v in plain.items()}
    again = ToyClip().load(tmp_path / "light", TASK, toy_context(tmp_path))
    rows = TASK.validation
    assert np.array_equal(again.encode_image(rows), model.encode_image(rows))
    assert not any(module._forward_pre_hooks for module in model.model.modules())


def test_the_same_seed_gives_the_same_student(tmp_path: Path) -> None:
    first, second = (weights(fitted(LightClip(), tmp_path / str(n))) for n in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_record_has_a_curve_of_each_part(tmp_path: Path) -> None:
    context = toy_context(tmp_path)
    LightClip().fit(TASK.sealed(), ToyClip(), RECIPE, context)
    assert set(context.curves) == {"loss", "instance loss", "token loss", "masked word loss"}
    assert len(context.curves["token loss"].values) == RECIPE.steps


def test_softening_begins_at_nothing_and_ends_at_its_most(tmp_path: Path) -> None:
    made, model = objective(LightClip(**{**OFF, "softening": 0.4}), tmp_path)
    batch = batch_of(model, TASK)
    first, last = (float(made.loss(model, batch, step, 10).detach()) for step in (0, 9))
    assert first == pytest.approx(float(clip_loss(encode_batch(model, batch)).detach()))
    assert abs(first - last) > 1e-4


@pytest.mark.parametrize(
    "student",
    [
        ToyClip(standard=True, context_length=20),
        ToyClip(tower="resnet18", size=64),
        ToyClip(width=24, embedding=4, layers=1),
    ],
)
def test_other_vocabularies_and_towers_will_do(student: ToyClip, tmp_path: Path) -> None:
    recipe = replace(RECIPE, steps=2, batch_size=4)
    model = LightClip().fit(TASK.sealed(), student, recipe, toy_context(tmp_path))
    assert np.isfinite(model.encode_text(["a red square"])).all()


def test_looking_at_tokens_changes_no_embedding(tmp_path: Path) -> None:
    for student in (ToyClip(), ToyClip(tower="resnet18", size=64)):
        model = student.build(TASK, toy_context(tmp_path))
        batch = batch_of(model, TASK)
        plain, found = encode_batch(model, batch), encode_tokens(model, batch)
        assert torch.equal(found.pairs.image, plain.image)
        assert torch.equal(found.pairs.text, plain.text)
        assert found.words.shape == (6, student.context_length, student.width)


def test_batches_in_parts_have_the_gradient_of_the_whole_one(tmp_path: Path) -> None:
    found = []
    for rows in (0, 2):
        made, model = objective(LightClip(), tmp_path)
        model.training_rows = rows
        made.loss(model, batch_of(model, TASK), 5, 10).backward()
        found.append({n: p.grad for n, p in model.model.named_parameters()})
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-4, atol=1e-6)


def test_a_batch_of_one_row_has_a_loss(tmp_path: Path) -> None:
    made, model = objective(LightClip(), tmp_path)
    loss = made.loss(model, batch_of(model, TASK, rows=1), 5, 10)
    loss.backward()
    assert bool(loss.isfinite())


def test_the_scale_of_tokens_is_kept_in_bounds_after_a_large_step(tmp_path: Path) -> None:
    made, model = objective(LightClip(**{**OFF, "token_weight": 1.0}), tmp_path)
    (scale,) = (p for p in made.parameters() if p.dim() == 0)
    with torch.no_grad():
        scale.fill_(50.0)
    made.after_step(model, 0)
    assert float(scale.detach()) == pytest.approx(np.log(100))


def test_a_text_task_or_another_student_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="for images with captions, and task 'toy'"):
        LightClip().fit(toy_task().sealed(), ToyClip(), RECIPE, toy_context(tmp_path))
    with pytest.raises(UsageError, match="the student builds none"):
        build_clip_student(WordCounts(), TASK, "lightclip", toy_context(tmp_path))


@pytest.mark.parametrize(
    "wrong",
    [
        {"softening": 1.0}, {"mask_rate": 0.0}, {"token_weight": -1.0}, {"mlm_weight": np.nan},
        {"stages": (0,)}, {"token_negatives": -1}, {"softening_temperature": 0.0},
        {"entropy": 0.0},
    ],
)  # fmt: skip
def test_options_out_of_range_are_refused(wrong: dict) -> None:
    with pytest.raises(UsageError):
        resolved(LightClip, **wrong)


def test_a_stage_that_the_tower_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="text tower with 2 layers"):
        fitted(LightClip(stages=(1, 3)), tmp_path)
