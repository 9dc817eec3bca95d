"""Mask learning: weights and masks trained together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from harness.context import StageContext
from harness.errors import UsageError
from harness.kit.clip.contrastive.features import ClipFeatures
from harness.kit.clip.model import ClipModel
from harness.kit.clip.row_parts import in_parts
from harness.kit.clip.shape import shape_of
from harness.kit.clip.teacher import StoredTeacher
from harness.kit.clip.training import ClipBatch
from harness_tinyclip.masks.constraint import SizeConstraint, mask_optimizer
from harness_tinyclip.masks.folding import fold, masks_of_size
from harness_tinyclip.masks.masked_clip import MaskedClip
from harness_tinyclip.masks.masks import MaskLogits
from harness_tinyclip.masks.sizes import ClipSize
from harness_tinyclip.mimicking import MimickingObjective
from harness_tinyclip.options import TinyClipOptions

PUBLISHED_RATE, PUBLISHED_STEPS = 0.02, 3000


class MaskObjective:
    """Affinity mimicking of the model under random masks, and the penalty on its expected size.

    The masks and the weights of the penalty have an optimizer of their own, which steps after the
    model's.

    Raises:
        UsageError: the model has no more parameters than it shall have.
    """

    def __init__(
        self,
        options: TinyClipOptions,
        teacher: StoredTeacher,
        model: ClipModel,
        parameters: int,
        steps: int,
        context: StageContext,
    ) -> None:
        self.size = ClipSize.of(model.model)
        whole = self.size.total()
        if parameters >= whole:
            raise UsageError(
                f"tinyclip: a model of {whole} parameters cannot be folded to {parameters}",
                hint="Choose a larger teacher or a smaller student.",
            )
        self.logits = MaskLogits(shape_of(model.model), options.masks)
        self.logits.clamp()
        self._mimicking = MimickingObjective(options, teacher, model)
        self._masked = MaskedClip(model.model).train()
        self._constraint = SizeConstraint(self.size, 1 - parameters / whole)
        rate = options.mask_learning_rate or min(1.0, PUBLISHED_RATE * PUBLISHED_STEPS / steps)
        self._optimizer = mask_optimizer(self.logits, self._constraint, rate)
        self._warmup = round(options.sparsity_warmup * steps)
        self._generator = context.torch_generator("tinyclip masks")
        self._sparsity: list[float] = []

    def parameters(self) -> Iterable[nn.Parameter]:
        return ()

    def loss(self, model: ClipModel, batch: ClipBatch, step: int, steps: int) -> Tensor:
        del steps
        masks = self.logits.sampled(self._generator)
        with batch.autocast():
            image, text = in_parts(
                lambda images, tokens: self._masked(images, tokens, masks),
                model.training_rows,
                batch.images,
                batch.tokens,
            )
        student = ClipFeatures(
            image.float(), text.float(), model.model.logit_scale.exp(), model.model.logit_bias
        )
        sparsity = self._constraint.sparsity(self.logits)
        self._sparsity.append(float(sparsity.detach()))
        penalty = self._constraint.penalty(sparsity, self._constraint.target(step, self._warmup))
        return self._mimicking.mimicked(student, batch) + penalty.to(image.device, torch.float32)

    def after_step(self, model: ClipModel, step: int) -> None:
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.logits.clamp()
        self._mimicking.after_step(model, step)

    def curves(self) -> dict[str, np.ndarray]:
        """Those of mimicking, and the share of the parameters that is expected to go."""
        return {**self._mimicking.curves(), "expected sparsity": np.array(self._sparsity)}


def folded_model(model: ClipModel, objective: MaskObjective, parameters: int) -> ClipModel:
    """The model that the masks leave, of a number of parameters as near as can be.

    What it is called is the model's; its number of parameters is the real one.
    """
    masks = masks_of_size(objective.logits, objective.size, parameters)
    folded = fold(model.model, model.config, masks)
    return replace(model, model=folded.model, config=folded.config)
