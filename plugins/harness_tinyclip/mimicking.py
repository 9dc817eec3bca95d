"""Affinity mimicking as an objective."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from harness.context import StageContext
from harness.kit.clip.contrastive.features import ClipFeatures
from harness.kit.clip.contrastive.mimicking import weighted_distillation
from harness.kit.clip.model import ClipModel
from harness.kit.clip.teacher import StoredTeacher
from harness.kit.clip.training import ClipBatch, encode_batch
from harness_tinyclip.options import TinyClipOptions


class MimickingObjective:
    """weight * (alpha * affinity mimicking + (1 - alpha) * CLIP's loss) against a teacher.

    TinyCLIP (Wu et al. 2023, arXiv 2309.12314, section 3.1). With `student_scale` the student's
    scale is set to it before the first step and after each one, so it is not learnt.
    """

    def __init__(self, options: TinyClipOptions, teacher: StoredTeacher, model: ClipModel) -> None:
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
