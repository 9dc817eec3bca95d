"""Masks of a CLIP's hidden channels, heads, feed-forward channels and layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import count

import torch
from torch import Tensor, nn

from harness.kit.clip.shape import ClipShape, TowerShape
from harness_tinyclip.kinds import MASK_KINDS, MaskKind
from harness_tinyclip.masks.hard_concrete import (
    FIRST_LOGIT,
    LOGIT_BOUNDS,
    evaluation_mask,
    probability_kept,
    sample,
)

OfLogits = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class TowerMasks:
    """Values in [0, 1] of a tower with L layers, or probabilities that they are not 0.

    hidden: [width]; heads, mlp: for each layer [heads] and [mlp], empty where the part is missing;
    attention, feed_forward: [L], of whole parts, 0 where they are missing.
    """

    hidden: Tensor
    heads: tuple[Tensor, ...]
    mlp: tuple[Tensor, ...]
    attention: Tensor
    feed_forward: Tensor


@dataclass(frozen=True)
class Shift:
    """What is added to logits when zeros are counted; see `evaluation_mask`.

    It is `high` for the first `raised` vectors of masks, in the order of the image tower and then
    the text tower, and `low` for the others.
    """

    low: float = 0.0
    high: float = 0.0
    raised: int = 0

    def of(self, vector: int) -> float:
        """The shift of a vector by its number."""
        return self.high if vector < self.raised else self.low


@dataclass(frozen=True)
class ClipMasks:
    """The masks of both towers."""

    image: TowerMasks
    text: TowerMasks


class TowerLogits(nn.Module):
    """The trained logits of a tower's masks; kinds that are not trained have masks of 1.

    attention, feed_forward: of the layers that have the part, in their order.
    """

    def __init__(self, shape: TowerShape, kinds: tuple[MaskKind, ...]) -> None:
        super().__init__()
        layers = shape.layers
        self.shape = shape
        self.kinds = kinds
        self.hidden = _logits(shape.width)
        self.heads = nn.ParameterList(_logits(layer.heads) for layer in layers)
        self.mlp = nn.ParameterList(_logits(layer.mlp) for layer in layers)
        self.attention = _logits(sum(layer.heads > 0 for layer in layers))
        self.feed_forward = _logits(sum(layer.mlp > 0 for layer in layers))
        for kind, parameter in self._by_kind():
            parameter.requires_grad_(kind in kinds)

    def masks(self, of_logits: OfLogits, of_hidden: OfLogits | None = None) -> TowerMasks:
        """Masks from logits, vector by vector; of_hidden: for those of hidden numbers."""
        layers = self.shape.layers

        def values(kind: MaskKind, logits: Tensor, make: OfLogits = of_logits) -> Tensor:
            whole = kind not in self.kinds or not len(logits)
            return torch.ones_like(logits, requires_grad=False) if whole else make(logits)

        return TowerMasks(
            hidden=values("hidden", self.hidden, of_hidden or of_logits),
            heads=tuple(values("heads", logits) for logits in self.heads),
            mlp=tuple(values("intermediate", logits) for logits in self.mlp),
            attention=_spread(values("layers", self.attention), [x.heads > 0 for x in layers]),
            feed_forward=_spread(values("layers", self.feed_forward), [x.mlp > 0 for x in layers]),
        )

    def clamp(self) -> None:
        """Puts logits back between their bounds, as after every step."""
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.clamp_(*LOGIT_BOUNDS)

    def _by_kind(self) -> Iterator[tuple[MaskKind, nn.Parameter]]:
        yield "hidden", self.hidden
        yield from (("heads", parameter) for parameter in self.heads)
        yield from (("intermediate", parameter) for parameter in self.mlp)
        yield "layers", self.attention
        yield "layers", self.feed_forward


class MaskLogits(nn.Module):
    """The trained logits of both towers' masks, all at 10 at first."""

    def __init__(self, shape: ClipShape, kinds: tuple[MaskKind, ...] = MASK_KINDS) -> None:
        super().__init__()
        self.image = TowerLogits(shape.image, kinds)
        self.text = TowerLogits(shape.text, kinds)

    def sampled(self, generator: torch.Generator) -> ClipMasks:
        """Random masks for a training step, differentiable."""
        draw = partial(sample, generator=generator)
        return ClipMasks(self.image.masks(draw), self.text.masks(draw))

    def probabilities(self) -> ClipMasks:
        """P(mask != 0), differentiable."""
        return ClipMasks(self.image.masks(probability_kept), self.text.masks(probability_kept))

    def evaluated(self, shift: Shift | None = None) -> ClipMasks:
        """The masks of evaluation, always the same; shift: none if not given.

        One hidden number is kept whatever happens, and a part none of whose units are kept is
        removed.
        """
        shift = shift or Shift()
        vectors = count()

        def make(logits: Tensor) -> Tensor:
            return evaluation_mask(logits, shift.of(next(vectors)))

        def hidden(logits: Tensor) -> Tensor:
            return evaluation_mask(logits, shift.of(next(vectors)), least=1)

        return ClipMasks(
            _settled(self.image.masks(make, hidden)), _settled(self.text.masks(make, hidden))
        )

    def clamp(self) -> None:
        """Puts logits back between their bounds, as after every step."""
        self.image.clamp()
        self.text.clamp()


def indicators(masks: ClipMasks) -> ClipMasks:
    """1 where a mask is not 0, else 0."""
    return ClipMasks(*(_mapped(tower, _indicator) for tower in (masks.image, masks.text)))


def _indicator(mask: Tensor) -> Tensor:
    return (mask != 0).to(mask.dtype)


def _mapped(masks: TowerMasks, change: OfLogits) -> TowerMasks:
    return TowerMasks(
        hidden=change(masks.hidden),
        heads=tuple(change(mask) for mask in masks.heads),
        mlp=tuple(change(mask) for mask in masks.mlp),
        attention=change(masks.attention),
        feed_forward=change(masks.feed_forward),
    )


def _settled(masks: TowerMasks) -> TowerMasks:
    """A part without units is off, and a part that is off has no units."""
    heads_on = torch.stack([mask.any() for mask in masks.heads]) if masks.heads else 0
    mlp_on = torch.stack([mask.any() for mask in masks.mlp]) if masks.mlp else 0
    attention, feed_forward = masks.attention * heads_on, masks.feed_forward * mlp_on
    return replace(
        masks,
        heads=tuple(m * (on != 0) for m, on in zip(masks.heads, attention, strict=True)),
        mlp=tuple(m * (on != 0) for m, on in zip(masks.mlp, feed_forward, strict=True)),
        attention=attention,
        feed_forward=feed_forward,
    )


def _logits(size: int) -> nn.Parameter:
    return nn.Parameter(torch.full((size,), FIRST_LOGIT))


def _spread(values: Tensor, present: list[bool]) -> Tensor:
    """Values of the layers that have a part, with 0 for those that have none."""
    whole = values.new_zeros(len(present))
    return whole.masked_scatter(torch.tensor(present, device=values.device), values)
