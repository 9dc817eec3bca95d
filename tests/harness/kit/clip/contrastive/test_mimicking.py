"""Distillation of distributions against open_clip and loops, and the traps of ensembles."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from embedded_pairs import cosine_rows, cross_entropy, gradients_are_right, pairs, softmax_rows
from open_clip.loss import ClipLoss, DistillClipLoss
from torch.nn import functional

from harness.errors import UsageError
from harness.kit.clip.contrastive.mimicking import (
    affinity_mimicking,
    ensemble_targets,
    reinforced_loss,
    relational_divergence,
    weighted_distillation,
)

STUDENT, TEACHER = pairs(), pairs(width=9, seed=1, scale=20.0)
SECOND = pairs(width=3, seed=2, scale=3.0)


def peers_losses() -> dict[str, torch.Tensor]:
    return DistillClipLoss()(
        STUDENT.image, STUDENT.text, STUDENT.scale,
        TEACHER.image, TEACHER.text, TEACHER.scale,
        output_dict=True,
    )  # fmt: skip


def test_affinity_mimicking_is_open_clips_distillation_though_widths_differ() -> None:
    expected = peers_losses()["distill_loss"]
    torch.testing.assert_close(
        affinity_mimicking(STUDENT, TEACHER), expected, rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize(("alpha", "weight"), [(1.0, 1.0), (0.5, 2.0), (0.0, 1.0), (0.3, 0.7)])
def test_alpha_and_weight_mix_the_two_losses(alpha: float, weight: float) -> None:
    peer = peers_losses()
    expected = weight * (alpha * peer["distill_loss"] + (1 - alpha) * peer["contrastive_loss"])
    found = weighted_distillation(STUDENT, TEACHER, alpha=alpha, weight=weight)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_the_relational_term_is_the_divergence_over_rows_not_over_numbers() -> None:
    expected = torch.zeros((), dtype=torch.float64)
    for own, goal in ((STUDENT.logits, TEACHER.logits), (STUDENT.logits.T, TEACHER.logits.T)):
        expected += 0.5 * functional.kl_div(
            own.log_softmax(1), goal.softmax(1), reduction="batchmean"
        )
    found = relational_divergence(STUDENT, TEACHER)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert not torch.isclose(found, expected / 5)


def test_the_relational_term_is_mimicking_less_the_teachers_entropy_and_can_be_zero() -> None:
    entropy = 0.0
    for texts_first in (False, True):
        logits = cosine_rows(TEACHER, texts_first=texts_first)
        entropy += 0.5 * cross_entropy(softmax_rows(logits), logits)
    found = relational_divergence(STUDENT, TEACHER)
    assert float(found) == pytest.approx(float(affinity_mimicking(STUDENT, TEACHER)) - entropy)
    assert float(relational_divergence(TEACHER, TEACHER)) == pytest.approx(0.0, abs=1e-12)


def test_the_teachers_scale_is_part_of_the_target() -> None:
    overridden = replace(TEACHER, scale=torch.tensor(50.0, dtype=torch.float64))
    native = affinity_mimicking(STUDENT, TEACHER)
    assert abs(float(native - affinity_mimicking(STUDENT, overridden))) > 1e-3


def test_gradients_are_right_and_none_reaches_the_teacher() -> None:
    for loss in (affinity_mimicking, relational_divergence):
        assert gradients_are_right(lambda own, loss=loss: loss(own, TEACHER), STUDENT)
    teacher = replace(TEACHER, image=TEACHER.image.clone().requires_grad_())
    student = replace(STUDENT, image=STUDENT.image.clone().requires_grad_())
    weighted_distillation(student, teacher, alpha=0.5).backward()
    assert teacher.image.grad is None
    assert student.image.grad is not None


def test_an_ensemble_averages_distributions_not_logits() -> None:
    to_text, to_image = ensemble_targets([TEACHER, SECOND])
    for found, texts_first in ((to_text, False), (to_image, True)):
        first, second = (
            softmax_rows(cosine_rows(t, texts_first=texts_first)) for t in (TEACHER, SECOND)
        )
        expected = [
            [(a + b) / 2 for a, b in zip(*rows, strict=True)]
            for rows in zip(first, second, strict=True)
        ]
        torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))
    logits = (TEACHER.logits + SECOND.logits) / 2
    assert (to_text - logits.softmax(1)).abs().max() > 0.01


def test_targets_of_both_directions_sum_to_one_by_row() -> None:
    to_text, to_image = ensemble_targets([TEACHER, SECOND])
    ones = torch.ones(5, dtype=torch.float64)
    torch.testing.assert_close(to_text.sum(1), ones)
    torch.testing.assert_close(to_image.sum(1), ones)
    assert (to_text.T - to_image).abs().max() > 0.01


def test_the_reinforced_loss_sums_over_captions() -> None:
    captions = [STUDENT, pairs(seed=3)]
    teachers = [[TEACHER, SECOND], [pairs(width=9, seed=4), pairs(width=3, seed=5)]]
    expected = 0.0
    for own, ensemble in zip(captions, teachers, strict=True):
        expected += 0.25 * float(ClipLoss()(own.image, own.text, own.scale))
        expected += 0.75 * sum(float(affinity_mimicking(own, t)) for t in ensemble) / 2
    found = reinforced_loss(captions, teachers, contrastive=0.25, distillation=0.75)
    assert float(found) == pytest.approx(expected, rel=1e-12)
    assert gradients_are_right(
        lambda own: reinforced_loss(
            [own, captions[1]], teachers, contrastive=0.25, distillation=0.75
        ),
        STUDENT,
    )


def test_pure_distillation_of_one_teacher_and_caption_is_affinity_mimicking() -> None:
    found = reinforced_loss([STUDENT], [[TEACHER]], contrastive=0.0, distillation=1.0)
    torch.testing.assert_close(found, affinity_mimicking(STUDENT, TEACHER))


@pytest.mark.parametrize("teachers", [[], [[]]])
def test_a_caption_without_a_teacher_is_refused(teachers: list) -> None:
    with pytest.raises(UsageError, match="teachers"):
        reinforced_loss([STUDENT], teachers, contrastive=0.0, distillation=1.0)


def test_a_batch_of_one_teaches_nothing_and_breaks_nothing() -> None:
    student = replace(pairs(1), image=pairs(1).image.requires_grad_())
    loss = weighted_distillation(student, pairs(1, width=9), alpha=0.5)
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert float(student.image.grad.abs().max()) == 0.0
