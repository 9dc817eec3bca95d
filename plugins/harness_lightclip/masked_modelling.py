"""Masked language modelling with the image's help."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.errors import UsageError
from harness.kit.clip.contrastive.masked_words import HiddenWords
from harness.kit.language.labelled_rows import IGNORED

_HEAD_WIDTH = 32
_FIRST_GATE = 0.1


class MaskedModelling(nn.Module):
    """What the masked pass needs besides the tower: mask, fusion with the image, prediction head.

    The mask is a vector of its own, so the vocabulary needs no token for it. Words are predicted
    through the tower's own token embedding (Press and Wolf 2017) after one layer, as in BERT.
    """

    def __init__(
        self,
        tower: Any,
        image_width: int,
        *,
        fused: bool,
        stages: Sequence[int] = (),
        attention: Literal["bidirectional", "causal"] = "bidirectional",
    ) -> None:
        """fused: whether the image is seen, after the layers `stages` (from 1), all when empty.

        Raises:
            UsageError: the tower has no such layer.
        """
        super().__init__()
        layers = len(tower.transformer.resblocks)
        chosen = (stages or range(1, layers + 1)) if fused else ()
        if any(stage > layers for stage in chosen):
            raise UsageError(
                f"lightclip: stages {list(stages)} of a text tower with {layers} layers"
            )
        vocabulary, width = tower.token_embedding.weight.shape
        self.attention = attention
        self.mask = nn.Parameter(0.02 * torch.randn(width))
        self.fusions = nn.ModuleDict({str(s): ImageFusion(width, image_width) for s in chosen})
        self.head = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))
        self.bias = nn.Parameter(torch.zeros(vocabulary))

    def loss(self, tower: Any, hidden: HiddenWords, patches: Tensor) -> Tensor:
        """Mean cross-entropy of the words to be predicted, a scalar; 0 if there is none.

        Args:
            patches: [b, p, image width] of the image as it is, nothing hidden.
        """
        states = self.states(tower, hidden, patches)
        chosen = hidden.targets != IGNORED
        if not bool(chosen.any()):
            return states.sum() * 0.0
        logits = self.logits(tower, states[chosen])
        return functional.cross_entropy(logits.float(), hidden.targets[chosen])

    def states(self, tower: Any, hidden: HiddenWords, patches: Tensor) -> Tensor:
        """[b, t, width]: what the tower makes of masked texts with the image fused in."""
        embedded = tower.token_embedding(hidden.tokens)
        states = torch.where(hidden.masked.unsqueeze(2), self.mask.to(embedded.dtype), embedded)
        states = states + tower.positional_embedding[: states.shape[1]]
        seen = self._seen(tower, hidden.tokens, states.dtype)
        for number, block in enumerate(tower.transformer.resblocks, start=1):
            states = block(states, attn_mask=_for_heads(seen, block))
            if str(number) in self.fusions:
                states = states + self.fusions[str(number)](states, patches)
        return tower.ln_final(states)

    def logits(self, tower: Any, states: Tensor) -> Tensor:
        """[n, vocabulary] of states [n, width]."""
        return self.head(states) @ tower.token_embedding.weight.T + self.bias

    def _seen(self, tower: Any, tokens: Tensor, dtype: torch.dtype) -> Tensor | None:
        """What is added to attention: [t, t] causal, or [b, t, t] that hides the pads alone."""
        if self.attention == "causal":
            return tower.attn_mask
        places = torch.arange(tokens.shape[1], device=tokens.device)
        pads = places > tokens.argmax(1, keepdim=True)
        hidden = torch.zeros(pads.shape, dtype=dtype, device=tokens.device)
        hidden = hidden.masked_fill(pads, -math.inf)
        return hidden.unsqueeze(1).expand(-1, tokens.shape[1], -1)


class ImageFusion(nn.Module):
    """Words look at an image's patches: gate * cross-attention, to be added to their states.

    The gate is one learnt number that starts small, so that the tower starts as it is.
    """

    def __init__(self, width: int, image_width: int) -> None:
        super().__init__()
        heads = math.gcd(width, max(1, width // _HEAD_WIDTH))
        self.words, self.patches = nn.LayerNorm(width), nn.LayerNorm(image_width)
        self.attention = nn.MultiheadAttention(
            width, heads, kdim=image_width, vdim=image_width, batch_first=True
        )
        self.gate = nn.Parameter(torch.tensor(_FIRST_GATE))

    def forward(self, states: Tensor, patches: Tensor) -> Tensor:
        """states: [b, t, width]; patches: [b, p, image width]; returns [b, t, width]."""
        keys = self.patches(patches)
        found, _ = self.attention(self.words(states), keys, keys, need_weights=False)
        return self.gate * found


def _for_heads(seen: Tensor | None, block: Any) -> Tensor | None:
    """The mask as a block takes it: one for every head of every row, if rows differ."""
    if seen is None or seen.dim() == 2:
        return seen
    heads = getattr(getattr(block, "attn", None), "num_heads", 1)
    return seen.repeat_interleave(heads, dim=0)
