"""The options of LightCLIP, checked; all of them belong to our reconstruction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from harness.errors import UsageError
from harness.kit.clip.contrastive.kinds import MatcherName, Negatives, Rise
from harness.options import Count, FinitePositive, Natural, ShareBelowOne, Weight


@dataclass(frozen=True)
class LightClipOptions:
    """Of the three parts, each of which 0 turns off.

    softening: the share that a pair's label gives to the batch's negatives at the end of
    training; rise: how it gets there from 0; negatives: share alike, or by the softmax of cosines;
    softening_temperature: of that softmax.
    token_weight: of the loss between matched patches and words; matcher: how they are matched;
    patches_a_word: of `k-to-1`; entropy, iterations: of `sinkhorn`;
    token_negatives: other captions that an image's own is told from, 0 for none.
    mlm_weight: of the loss of predicted words; mask_rate: share of the words to be predicted, 80 %
    of them masked, 10 % replaced; attention: of the masked pass; fusion: whether it sees the
    image; stages: the text tower's layers after which it does, counted from 1, all when empty.
    """

    softening: ShareBelowOne = 0.2
    rise: Rise = "linear"
    negatives: Negatives = "similarity"
    softening_temperature: FinitePositive = 0.1
    token_weight: Weight = 0.5
    matcher: MatcherName = "hungarian"
    patches_a_word: Count = 2
    entropy: FinitePositive = 0.05
    iterations: Count = 20
    token_negatives: Natural = 3
    mlm_weight: Weight = 0.5
    mask_rate: ShareBelowOne = 0.15
    attention: Literal["bidirectional", "causal"] = "bidirectional"
    fusion: bool = True
    stages: tuple[Count, ...] = ()

    modalities: ClassVar[tuple[str, ...]] = ("image-text",)

    def __post_init__(self) -> None:
        if self.mlm_weight and not self.mask_rate:
            raise UsageError(
                "lightclip: mask_rate = 0 leaves no word to predict",
                hint="Set mlm_weight to 0 to go without.",
            )
