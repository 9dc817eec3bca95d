"""Masked language modelling for a text tower: masked tokens and their targets, as in BERT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from harness.errors import UsageError
from harness.kit.language.labelled_rows import IGNORED


@dataclass(frozen=True)
class MaskingRule:
    """Which words are hidden, and how. The defaults are BERT's (Devlin et al. 2019, section 3.1).

    rate: of the words, those to be predicted; masked, replaced: shares of these that become the
    mask and another word; the others stay as they are.
    mask_id: stands for a hidden word; vocabulary: ids of words that may replace another.
    special: ids that are never hidden: pad, start and end.
    """

    mask_id: int
    vocabulary: tuple[int, ...]
    special: tuple[int, ...]
    rate: float = 0.15
    masked: float = 0.8
    replaced: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 1 or min(self.masked, self.replaced) < 0:
            raise UsageError(
                f"masking {self.rate:g} of the words, {self.masked:g} of these as mask and"
                f" {self.replaced:g} as other words: shares should be in [0, 1], the first not 0"
            )
        if self.masked + self.replaced > 1:
            raise UsageError(
                f"shares {self.masked:g} masked and {self.replaced:g} replaced exceed 1"
            )
        if self.special and max(self.mask_id, *self.vocabulary) >= max(self.special):
            raise UsageError(
                f"mask id {self.mask_id} or a replacing word is not below the end token"
                f" {max(self.special)}",
                hint="CLIP pools a text at its largest id, which has to remain the end token.",
            )

    @cached_property
    def replacements(self) -> Tensor:
        """`vocabulary` as a tensor, made once."""
        return torch.tensor(self.vocabulary)


@dataclass(frozen=True)
class HiddenWords:
    """tokens: [b, t] as the tower reads them; targets: [b, t] true ids, `IGNORED` elsewhere;
    masked: [b, t] bool, where the mask stands."""

    tokens: Tensor
    targets: Tensor
    masked: Tensor


def hide_words(tokens: Tensor, rule: MaskingRule, generator: torch.Generator) -> HiddenWords:
    """Hides words of [b, t] token ids, each by itself with probability `rule.rate`.

    Drawn on the CPU, so that all devices hide the same words; the input is left as it is.
    """
    words = is_word(tokens, rule.special).cpu()
    chosen = words & (torch.rand(words.shape, generator=generator) < rule.rate)
    kind = torch.rand(words.shape, generator=generator)
    masked = (chosen & (kind < rule.masked)).to(tokens.device)
    replaced = chosen & (kind >= rule.masked) & (kind < rule.masked + rule.replaced)
    drawn = torch.randint(len(rule.vocabulary), words.shape, generator=generator)
    others = rule.replacements[drawn].to(tokens)
    shown = torch.where(replaced.to(tokens.device), others, tokens)
    return HiddenWords(
        tokens=torch.where(masked, rule.mask_id, shown),
        targets=torch.where(chosen.to(tokens.device), tokens, IGNORED),
        masked=masked,
    )


def is_word(tokens: Tensor, special: Sequence[int]) -> Tensor:
    """[b, t] bool: tokens that are neither pad, start nor end."""
    return ~torch.isin(tokens, torch.tensor(list(special), device=tokens.device))
