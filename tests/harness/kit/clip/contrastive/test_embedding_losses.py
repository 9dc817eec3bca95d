"""CLIP-KD's terms against autograd and loops."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from embedded_pairs import Loss, gradients_are_right, pairs
from open_clip.loss import ClipLoss
from torch.nn import functional

from harness.kit.clip.contrastive.embedding_losses import (
    augmented_contrast,
    contrast_gradients,
    feature_distance,
    gradient_distance,
    interactive_contrast,
)
from harness.kit.clip.contrastive.features import ClipFeatures

STUDENT, TEACHER = pairs(), pairs(seed=1, scale=20.0)
SCALE = torch.tensor(11.0, dtype=torch.float64)
GENERATOR = torch.Generator().manual_seed(5)
FUSION = torch.randn(6, 13, dtype=torch.float64, generator=GENERATOR)
WIDE = pairs(width=9, seed=1)


def fuse(rows: torch.Tensor) -> torch.Tensor:
    return rows @ FUSION.T


LOSSES: dict[str, Loss] = {
    "feature distance": lambda own: feature_distance(own, TEACHER),
    "interactive": lambda own: interactive_contrast(own, TEACHER, SCALE),
    "gradient": lambda own: gradient_distance(own, TEACHER),
    "augmented": lambda own: augmented_contrast(own, WIDE, fuse, fuse, SCALE),
}


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_right(name: str) -> None:
    assert gradients_are_right(LOSSES[name], STUDENT)


@pytest.mark.parametrize("name", ["feature distance", "gradient"])
def test_a_student_that_is_the_teacher_has_no_distance(name: str) -> None:
    assert float(LOSSES[name](STUDENT)) > 1e-6
    assert float(LOSSES[name](TEACHER)) == pytest.approx(0.0, abs=1e-15)


def test_the_feature_distance_is_the_mean_over_all_numbers() -> None:
    expected = 0.0
    for own, goal in ((STUDENT.image, TEACHER.image), (STUDENT.text, TEACHER.text)):
        squares = [(float(a) - float(b)) ** 2 for a, b in zip(own.flatten(), goal.flatten())]  # noqa: B905
        expected += sum(squares) / len(squares)
    assert float(feature_distance(STUDENT, TEACHER)) == pytest.approx(expected)


def test_interaction_is_the_clip_loss_across_the_models() -> None:
    crossed = [
        functional.cross_entropy(SCALE * STUDENT.image @ TEACHER.text.T, torch.arange(5)),
        functional.cross_entropy(SCALE * STUDENT.text @ TEACHER.image.T, torch.arange(5)),
    ]
    found = interactive_contrast(STUDENT, TEACHER, SCALE)
    torch.testing.assert_close(found, sum(crossed, torch.zeros(())) / 2)
    itself = interactive_contrast(STUDENT, STUDENT, STUDENT.scale)
    peer = ClipLoss()(STUDENT.image, STUDENT.text, STUDENT.scale)
    torch.testing.assert_close(itself, peer)


@pytest.mark.parametrize("scale", [0.5, 7.0, 60.0])
def test_closed_gradients_are_those_of_autograd_and_multiply_by_the_scale(scale: float) -> None:
    given = pairs(scale=scale)
    image, text = given.image.clone().requires_grad_(), given.text.clone().requires_grad_()
    places = torch.arange(len(image))
    rows = functional.cross_entropy(given.scale * image @ text.T, places)
    columns = functional.cross_entropy(given.scale * text @ image.T, places)
    expected = [*torch.autograd.grad(rows, (image, text))]
    expected += torch.autograd.grad(columns, (image, text))
    for found, goal in zip(contrast_gradients(given), expected, strict=True):
        torch.testing.assert_close(found, goal, rtol=1e-10, atol=1e-12)


def test_the_gradient_distance_sums_four_means() -> None:
    parts = zip(contrast_gradients(STUDENT), contrast_gradients(TEACHER), strict=True)
    expected = sum(float(((own - goal) ** 2).mean()) for own, goal in parts)
    assert float(gradient_distance(STUDENT, TEACHER)) == pytest.approx(expected)


def test_augmentation_is_the_clip_loss_of_fused_embeddings() -> None:
    def fused(own: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        rows = [FUSION @ torch.cat([a, b]) for a, b in zip(own, other, strict=True)]
        return torch.stack([row / row.norm() for row in rows])

    image, text = fused(STUDENT.image, WIDE.image), fused(STUDENT.text, WIDE.text)
    expected = ClipLoss()(image, text, SCALE)
    torch.testing.assert_close(augmented_contrast(STUDENT, WIDE, fuse, fuse, SCALE), expected)


@pytest.mark.parametrize("name", LOSSES)
def test_no_gradient_reaches_the_teacher(name: str) -> None:
    asked = [t.clone().requires_grad_() for t in (TEACHER.image, TEACHER.text)]
    teacher = ClipFeatures(asked[0], asked[1], TEACHER.scale, None)
    student = replace(STUDENT, image=STUDENT.image.clone().requires_grad_())
    losses = {
        "feature distance": lambda: feature_distance(student, teacher),
        "interactive": lambda: interactive_contrast(student, teacher, SCALE),
        "gradient": lambda: gradient_distance(student, teacher),
        "augmented": lambda: augmented_contrast(
            student, teacher, lambda rows: rows[:, :4], lambda rows: rows[:, :4], SCALE
        ),
    }
    losses[name]().backward()
    assert student.image.grad is not None
    assert asked[0].grad is None
    assert asked[1].grad is None
