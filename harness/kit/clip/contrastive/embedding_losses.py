"""CLIP-KD's losses between embeddings: feature, interactive, gradient, augmented distillation.

Yang et al. 2024, arXiv 2307.12732, section 3. Student and teacher embeddings have the same width
here; where they have not, the student's are projected and made unit vectors again beforehand.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from harness.kit.clip.contrastive.features import ClipFeatures
from harness.kit.clip.contrastive.pair_losses import paired_cross_entropy

Fusion = Callable[[Tensor], Tensor]
"""[b, student width + teacher width] -> [b, any width]."""


def feature_distance(student: ClipFeatures, teacher: ClipFeatures) -> Tensor:
    """FD: mean squared difference of image embeddings plus that of text embeddings, a scalar.

    The mean is over b * d numbers of unit vectors, which is why the published weight is 2000.
    With student images of which patches are hidden this is the published term MFD.
    """
    image = functional.mse_loss(student.image, teacher.image.detach())
    return image + functional.mse_loss(student.text, teacher.text.detach())


def interactive_contrast(student: ClipFeatures, teacher: ClipFeatures, scale: Tensor) -> Tensor:
    """ICL: CLIP's loss between one model's images and the other's texts, mean of both, a scalar.

    Args:
        scale: of the cosines between the models, positive; one of its own.
    """
    images = scale * student.image @ teacher.text.detach().T
    texts = scale * student.text @ teacher.image.detach().T
    places = torch.arange(len(images), device=images.device)
    first = functional.cross_entropy(images, places)
    return 0.5 * (first + functional.cross_entropy(texts, places))


def gradient_distance(student: ClipFeatures, teacher: ClipFeatures) -> Tensor:
    """GD: mean squared differences of the four gradients of the CLIP loss, summed, a scalar.

    They are those of each direction's cross-entropy by images and by texts, in closed form, each
    model at its own scale. The published weight is 1e8.
    """
    with torch.no_grad():
        goals = contrast_gradients(teacher)
    pairs = zip(contrast_gradients(student), goals, strict=True)
    return torch.stack([functional.mse_loss(own, goal) for own, goal in pairs]).sum()


def contrast_gradients(features: ClipFeatures) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """[b, d] each: of image -> text by images and by texts, of text -> image by the same two.

    With P the softmax of the logits' rows, dL/du = s (P - I) V / b, dL/dv = s (P - I)^T U / b.
    """
    logits = features.logits
    factor = features.scale / len(logits)
    one = torch.eye(len(logits), dtype=logits.dtype, device=logits.device)
    rows, columns = logits.softmax(1) - one, logits.T.softmax(1) - one
    return (
        factor * rows @ features.text,
        factor * rows.T @ features.image,
        factor * columns.T @ features.text,
        factor * columns @ features.image,
    )


def augmented_contrast(
    student: ClipFeatures, teacher: ClipFeatures, images: Fusion, texts: Fusion, scale: Tensor
) -> Tensor:
    """AFD: CLIP's loss of fused embeddings, made unit vectors, a scalar. Widths may differ.

    Args:
        images, texts: fuse [student, teacher] embeddings, side by side, as a linear layer does.
        scale: of the fused embeddings' cosines, positive.
    """
    image = images(torch.cat([student.image, teacher.image.detach()], dim=1))
    text = texts(torch.cat([student.text, teacher.text.detach()], dim=1))
    cosines = functional.normalize(image, dim=1) @ functional.normalize(text, dim=1).T
    return paired_cross_entropy(scale * cosines)
