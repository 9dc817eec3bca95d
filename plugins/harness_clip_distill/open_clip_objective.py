"""open_clip's distillation objective."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from harness.kit.clip.contrastive.mimicking import affinity_mimicking
from harness.kit.clip.contrastive.pair_losses import contrastive_loss
from harness.kit.clip.model import ClipModel
from harness.kit.clip.training import ClipBatch, encode_batch
from harness_clip_distill.teaching import Teach


class OpenClipObjective:
    """The contrastive loss plus affinity mimicking, one to one."""

    def __init__(self, teach: Teach) -> None:
        self._teach = teach

    def parameters(self) -> Iterable[nn.Parameter]:
        return ()

    def loss(self, model: ClipModel, batch: ClipBatch, step: int, steps: int) -> Tensor:
        """Rows count alike."""
        del step, steps
        student = encode_batch(model, batch)
        return contrastive_loss(student) + affinity_mimicking(student, self._teach(batch))

    def after_step(self, model: ClipModel, step: int) -> None:
        del model, step
