"""The input of contrastive losses: a batch's image and text embeddings, logit scale and bias."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class ClipFeatures:
    """What a model makes of a batch of pairs, image i belonging to text i.

    image, text: [b, d] unit embeddings, at least float32; scale: exp(logit_scale), a scalar that
    multiplies cosines; bias: a scalar, or None for models without.
    """

    image: Tensor
    text: Tensor
    scale: Tensor
    bias: Tensor | None = None

    @property
    def logits(self) -> Tensor:
        """[b, b] scaled cosines, a row an image, with the bias of models that have one."""
        logits = self.scale * self.image @ self.text.T
        return logits if self.bias is None else logits + self.bias
