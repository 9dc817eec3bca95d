"""Token features: what the towers make of single patches and words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.errors import UsageError
from harness.kit.clip.contrastive.features import ClipFeatures
from harness.kit.clip.model import ClipModel
from harness.kit.clip.row_parts import each_once, in_parts
from harness.kit.clip.training import ClipBatch


@dataclass(frozen=True)
class TokenFeatures:
    """pairs: as `encode_batch` makes them; patches: [b, p, image width], words: [b, t, text
    width], of the towers' last layers, before their last norms."""

    pairs: ClipFeatures
    patches: Tensor
    words: Tensor


def text_tower(model: ClipModel) -> Any:
    """The module with `token_embedding`, `transformer` and `ln_final`.

    Raises:
        UsageError: the text tower is none of open_clip's own, or ends its texts in another way.
    """
    core: Any = model.model
    tower = core.text if hasattr(core, "text") else core
    own = all(hasattr(tower, name) for name in ("token_embedding", "transformer", "ln_final"))
    if not own or getattr(tower, "cls_emb", None) is not None:
        raise UsageError(
            "lightclip looks at single words in a text tower of open_clip's own, without a class"
            f" token, and this student's is another ({type(tower).__name__})",
            hint="Set token_weight and mlm_weight to 0, or take another student.",
        )
    return tower


def encode_tokens(model: ClipModel, batch: ClipBatch) -> TokenFeatures:
    """One pass of each tower, with graph, in the recipe's precision.

    `model.training_rows` bounds the rows whose activations are kept, as in `encode_batch`.
    """
    core: Any = model.model
    with batch.autocast():
        image, patches = in_parts(_Images(model), model.training_rows, batch.images)
        text, words = in_parts(_Texts(model), model.training_rows, batch.tokens)
    pairs = ClipFeatures(image, text, core.logit_scale.exp(), core.logit_bias)
    return TokenFeatures(pairs, patches, words)


@dataclass(frozen=True)
class _Images:
    model: ClipModel

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        visual: Any = self.model.model.visual
        made = visual.forward_intermediates(images, indices=1, output_fmt="NCHW")
        (grid,) = made["image_intermediates"]
        return _unit(made["image_features"]), grid.flatten(2).transpose(1, 2)


@dataclass(frozen=True)
class _Texts:
    model: ClipModel

    def __call__(self, tokens: Tensor) -> tuple[Tensor, ...]:
        return each_once(self._encode, tokens)

    def _encode(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """The last layer's output is caught on its way, so that pooling stays the model's own."""
        caught: list[Tensor] = []
        norm: nn.Module = text_tower(self.model).ln_final
        hook = norm.register_forward_pre_hook(lambda _, given: caught.append(given[0]))
        try:
            return self.model.text_features(tokens), caught[0]
        finally:
            hook.remove()


def _unit(rows: Tensor) -> Tensor:
    wide = rows.to(torch.promote_types(rows.dtype, torch.float32))
    return functional.normalize(wide, dim=-1)
