"""What contrastive losses are computed from: a batch's embeddings and their cosines' scale."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class PairFeatures(Protocol):
    """A batch of pairs, image i belonging to text i.

    image, text: [b, d] unit embeddings; scale: scalar that multiplies cosines, exp(logit_scale);
    logits: [b, b] scaled cosines, a row an image, with the bias of models that have one.
    """

    @property
    def image(self) -> Tensor: ...

    @property
    def text(self) -> Tensor: ...

    @property
    def scale(self) -> Tensor: ...

    @property
    def logits(self) -> Tensor: ...
