"""Distillation losses on a batch's image-text similarities: affinity mimicking, CRD, ensembles."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from harness.errors import UsageError
from harness.kit.clip.contrastive.features import ClipFeatures
from harness.kit.clip.contrastive.pair_losses import (
    clip_loss,
    paired_cross_entropy,
    soft_cross_entropy_both_ways,
)


def affinity_mimicking(student: ClipFeatures, teacher: ClipFeatures) -> Tensor:
    """Soft cross-entropy with the teacher's distributions, both ways, a scalar.

    TinyCLIP's affinity mimicking (Wu et al. 2023, arXiv 2309.12314, section 3.1) and open_clip's
    `DistillClipLoss`. Widths may differ; no gradient reaches the teacher. There is no factor T^2:
    both models' own scales are their temperatures.
    """
    return mimic([student.logits], [[teacher]])


def weighted_distillation(
    student: ClipFeatures, teacher: ClipFeatures, *, alpha: float = 1.0, weight: float = 1.0
) -> Tensor:
    """weight * (alpha * affinity mimicking + (1 - alpha) * CLIP loss), a scalar.

    The defaults are those of TinyCLIP's published code: the soft loss alone.
    """
    soft = affinity_mimicking(student, teacher)
    return weight * (alpha * soft + (1.0 - alpha) * clip_loss(student))


def relational_divergence(student: ClipFeatures, teacher: ClipFeatures) -> Tensor:
    """CLIP-KD's contrastive relational term: KL(teacher, student) of both directions' rows, mean.

    Yang et al. 2024 (arXiv 2307.12732), section 3.2. It is affinity mimicking less the teacher's
    entropy, so its gradients are the same and its minimum is 0.
    """
    with torch.no_grad():
        logits = teacher.logits
        entropy = soft_cross_entropy_both_ways(logits.softmax(1), logits.T.softmax(1), logits)
    return affinity_mimicking(student, teacher) - entropy


def reinforced_loss(
    students: Sequence[ClipFeatures],
    teachers: Sequence[Sequence[ClipFeatures]],
    *,
    contrastive: float,
    distillation: float,
) -> Tensor:
    """MobileCLIP's loss of one batch of images with several captions each, a scalar.

    The sum over captions of contrastive * CLIP loss + distillation * soft cross-entropy with the
    ensemble's distribution. Vasu et al. 2024 (arXiv 2311.17049), section 4.

    Args:
        students: the student's features, for each caption.
        teachers: for each caption, the features of every teacher of the ensemble.

    Raises:
        UsageError: no caption, or a caption without teachers.
    """
    if not students or len(students) != len(teachers) or not all(teachers):
        raise UsageError(
            f"{len(students)} captions and teachers for {sum(map(bool, teachers))} of them"
        )
    logits = [student.logits for student in students]
    zero = logits[0].new_zeros(())
    hard = sum((paired_cross_entropy(part) for part in logits), zero) if contrastive else zero
    soft = mimic(logits, teachers) if distillation else zero
    return contrastive * hard + distillation * soft


def mimic(logits: Sequence[Tensor], teachers: Sequence[Sequence[ClipFeatures]]) -> Tensor:
    """The sum over captions of soft cross-entropies with an ensemble's distribution, a scalar."""
    total = logits[0].new_zeros(())
    for part, ensemble in zip(logits, teachers, strict=True):
        to_text, to_image = ensemble_targets(ensemble)
        total = total + soft_cross_entropy_both_ways(
            to_text.to(part.dtype), to_image.to(part.dtype), part
        )
    return total


@torch.no_grad()
def ensemble_targets(teachers: Sequence[ClipFeatures]) -> tuple[Tensor, Tensor]:
    """[b, b] twice: images' distributions over texts and texts' over images, rows of sum 1.

    Each teacher's softmax under its own scale, then the mean over teachers: a mean of logits is
    another distribution.
    """
    logits = [teacher.logits for teacher in teachers]
    to_text = torch.stack([part.softmax(1) for part in logits]).mean(0)
    to_image = torch.stack([part.T.softmax(1) for part in logits]).mean(0)
    return to_text, to_image
