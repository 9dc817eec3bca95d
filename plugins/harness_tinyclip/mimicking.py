"""Affinity mimicking as an objective: the teacher's distributions over a batch, both ways."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from harness.context import StageContext
from harness.kit.clip_model import ClipModel
from harness.kit.clip_teacher import TeacherEmbeddings
from harness.kit.clip_training import ClipBatch, ClipFeatures, encode_batch
from harness.kit.contrastive.mimicking import weighted_distillation
from harness_tinyclip.options import TinyClipOptions


@dataclass(frozen=True)
class TeacherPairs:
    """A teacher's embeddings of the train rows, images as they are stored.

    image, text: [n, d] units on the student's device; scale, bias: the teacher's own.
    """

    image: Tensor
    text: Tensor
    scale: Tensor
    bias: Tensor | None

    @classmethod
    def of(cls, stored: TeacherEmbeddings, device: torch.device) -> TeacherPairs:
        """What was computed once, on a device."""
        return cls(
            image=torch.from_numpy(stored.image[0]).to(device),
            text=torch.from_numpy(stored.text).to(device),
            scale=torch.tensor(stored.scale, dtype=torch.float32, device=device),
            bias=None
            if stored.bias is None
            else torch.tensor(stored.bias, dtype=torch.float32, device=device),
        )

    def features(self, rows: np.ndarray, scale: float = 0.0) -> ClipFeatures:
        """Of some rows, [b]; scale: instead of the teacher's own, unless 0."""
        places = torch.from_numpy(rows).to(self.image.device)
        return ClipFeatures(
            image=self.image[places],
            text=self.text[places],
            scale=self.scale.new_tensor(scale) if scale else self.scale,
            bias=self.bias,
        )


class MimickingObjective:
    """weight * (alpha * affinity mimicking + (1 - alpha) * CLIP's loss) against a teacher.

    TinyCLIP (Wu et al. 2023, arXiv 2309.12314, section 3.1). With `student_scale` the student's
    scale is set to it before the first step and after each one, so it is not learnt.
    """

    def __init__(self, options: TinyClipOptions, teacher: TeacherPairs, model: ClipModel) -> None:
        self._options = options
        self._teacher = teacher
        self._losses: list[Tensor] = []
        self._scales: list[Tensor] = []
        self._fix_scale(model)

    def parameters(self) -> Iterable[nn.Parameter]:
        return ()

    def loss(self, model: ClipModel, batch: ClipBatch, step: int, steps: int) -> Tensor:
        del step, steps
        return self.mimicked(encode_batch(model, batch), batch)

    def mimicked(self, student: ClipFeatures, batch: ClipBatch) -> Tensor:
        """The loss of a batch whose features are at hand, a scalar."""
        options = self._options
        teacher = self._teacher.features(batch.rows, options.teacher_scale)
        loss = weighted_distillation(student, teacher, alpha=options.alpha, weight=options.weight)
        self._losses.append(loss.detach())
        self._scales.append(student.scale.detach())
        return loss

    def after_step(self, model: ClipModel, step: int) -> None:
        del step
        self._fix_scale(model)

    def curves(self) -> dict[str, np.ndarray]:
        """The loss and both scales at each step."""
        own = self._options.teacher_scale or float(self._teacher.scale)
        return {
            "loss": _values(self._losses),
            "student scale": _values(self._scales),
            "teacher scale": np.full(len(self._scales), own),
        }

    def _fix_scale(self, model: ClipModel) -> None:
        if self._options.student_scale:
            with torch.no_grad():
                model.model.logit_scale.fill_(math.log(self._options.student_scale))


def join_curves(parts: Iterable[Mapping[str, np.ndarray]], context: StageContext) -> None:
    """Puts the curves of consecutive phases into the record, each as one."""
    joined: dict[str, list[np.ndarray]] = {}
    for part in parts:
        for name, values in part.items():
            joined.setdefault(name, []).append(values)
    for name, arrays in joined.items():
        context.keep_curve(name, np.concatenate(arrays))


def _values(kept: list[Tensor]) -> np.ndarray:
    return torch.stack(kept).double().cpu().numpy() if kept else np.zeros(0)
