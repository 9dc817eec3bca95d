"""CLIP-KD's sum: each term against its own definition, on towers of any widths."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional

from harness.errors import UsageError
from harness.kit.clip.contrastive import embedding_losses as terms
from harness.kit.clip.contrastive.features import ClipFeatures
from harness.kit.clip.contrastive.mimicking import relational_divergence
from harness.kit.clip.contrastive.pair_losses import clip_loss
from harness.kit.clip.model import ClipModel
from harness.kit.clip.training import encode_batch
from harness.testing.image_text import toy_image_text_task
from harness.testing.text import toy_context
from harness_clip_distill.kd_objective import KdObjective, patch_side
from harness_clip_distill.kd_weights import KdWeights
from resolved import resolved
from toy_clips import ToyClip, batch_of

TASK = toy_image_text_task()
OFF = dict.fromkeys(("task", "ckd", "icl", "fd", "mfd", "gd", "afd"), 0.0)


def teacher(width: int) -> ClipFeatures:
    generator = torch.Generator().manual_seed(1)
    image, text = (
        functional.normalize(torch.randn(6, width, generator=generator), dim=1) for _ in range(2)
    )
    return ClipFeatures(image, text, torch.tensor(20.0), None)


def made(folder: Path, width: int = 8, **weights: float) -> tuple[KdObjective, ClipModel]:
    model = ToyClip().build(TASK, toy_context(folder))
    given = teacher(width)
    kd = KdObjective(
        KdWeights(**{**OFF, **weights}), model, width, lambda _: given, toy_context(folder)
    )
    return kd, model


def loss(folder: Path, width: int = 8, **weights: float) -> float:
    kd, model = made(folder, width, **weights)
    return float(kd.loss(model, batch_of(model, TASK), 0, 1).detach())


def test_each_term_is_its_definition_and_the_sum_is_weighted(tmp_path: Path) -> None:
    model = ToyClip().build(TASK, toy_context(tmp_path))
    own, given = encode_batch(model, batch_of(model, TASK)), teacher(8)
    scale = torch.tensor(1 / 0.07)
    expected = {
        "task": clip_loss(own),
        "ckd": relational_divergence(own, given),
        "icl": terms.interactive_contrast(own, given, scale),
        "fd": terms.feature_distance(own, given),
        "gd": terms.gradient_distance(own, given),
    }
    for name, value in expected.items():
        assert loss(tmp_path, **{name: 1.0}) == pytest.approx(float(value.detach()), rel=1e-5), name
    weights = {"task": 1.0, "ckd": 0.5, "icl": 2.0, "fd": 2000.0, "gd": 100.0}
    total = sum(weight * float(expected[name].detach()) for name, weight in weights.items())
    assert loss(tmp_path, **weights) == pytest.approx(total, rel=1e-5)


def test_the_published_weights_are_the_defaults() -> None:
    weights = KdWeights()
    assert (weights.task, weights.ckd, weights.icl, weights.fd) == (1, 1, 1, 2000)
    assert (weights.mfd, weights.gd, weights.afd) == (0, 0, 0)


@pytest.mark.parametrize("name", OFF)
@pytest.mark.parametrize("width", [8, 5])
def test_each_term_alone_trains_the_student_whatever_the_teachers_width(
    name: str, width: int, tmp_path: Path
) -> None:
    kd, model = made(tmp_path, width, **{name: 1.0})
    kd.loss(model, batch_of(model, TASK), 0, 1).backward()
    moved = [p.grad for p in model.model.parameters() if p.grad is not None]
    assert any(float(gradient.abs().max()) > 0 for gradient in moved)


def test_maps_exist_only_where_widths_differ(tmp_path: Path) -> None:
    def size(width: int, **weights: float) -> int:
        return sum(p.numel() for p in made(tmp_path, width, **weights)[0].parameters())

    assert size(8, fd=1.0) == 0
    assert size(5, fd=1.0) == 2 * (8 * 5 + 5)
    assert size(8, icl=1.0) == 1
    assert size(5, afd=1.0) == 1 + 2 * (8 * 5 + 5) + 2 * (13 * 8 + 8)


def test_a_hidden_image_changes_the_masked_term_alone(tmp_path: Path) -> None:
    assert loss(tmp_path, mfd=1.0) != pytest.approx(loss(tmp_path, fd=1.0), rel=1e-6)
    model = ToyClip().build(TASK, toy_context(tmp_path))
    kd = KdObjective(
        KdWeights(**{**OFF, "mfd": 1.0, "hidden": 0.0}),
        model, 8, lambda _: teacher(8), toy_context(tmp_path),
    )  # fmt: skip
    whole = float(kd.loss(model, batch_of(model, TASK), 0, 1).detach())
    assert whole == pytest.approx(loss(tmp_path, fd=1.0), rel=1e-6)


def test_its_scales_are_kept_in_bounds_after_a_large_step(tmp_path: Path) -> None:
    kd, model = made(tmp_path, icl=1.0, afd=1.0)
    scales = [p for p in kd.parameters() if p.dim() == 0]
    assert len(scales) == 2
    with torch.no_grad():
        scales[0].fill_(90.0)
        scales[1].fill_(-3.0)
    kd.after_step(model, 0)
    assert [float(s.detach().exp()) for s in scales] == pytest.approx([100.0, 1.0], rel=1e-5)


def test_a_batch_of_one_row_has_a_loss(tmp_path: Path) -> None:
    model = ToyClip().build(TASK, toy_context(tmp_path))
    given = teacher(5)
    one = ClipFeatures(given.image[:1], given.text[:1], given.scale, None)
    kd = KdObjective(KdWeights(), model, 5, lambda _: one, toy_context(tmp_path))
    value = kd.loss(model, batch_of(model, TASK, rows=1), 0, 1)
    value.backward()
    assert bool(value.isfinite())


def test_patches_have_the_towers_side_or_an_eighth_of_the_image() -> None:
    assert patch_side({"vision_cfg": {"image_size": 32, "patch_size": 4}}) == 4
    assert patch_side({"vision_cfg": {"image_size": (64, 48), "timm_model_name": "x"}}) == 6


@pytest.mark.parametrize("wrong", [{"fd": -1.0}, {"hidden": 1.0}, {**OFF}, {"gd": float("inf")}])
def test_weights_out_of_range_are_refused(wrong: dict) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong)) if len(wrong) == 1 else "clip-kd"):
        resolved(KdWeights, **wrong)
