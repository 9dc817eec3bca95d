"""Rademacher projection: dense random signs, some columns at a time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import torch
from torch import Tensor

from harness.kit.counter_hash import random_words
from harness.kit.gradients.column_blocks import ColumnBlock
from harness.kit.gradients.projection.projector import Projector

_BLOCK_SIGNS = 1 << 22


@dataclass(frozen=True)
class Rademacher(Projector):
    """Every entry is +-1/sqrt(outputs), independently (Achlioptas 2003, theorem 1.1).

    The sign of input i and output j is bit j % 64 of word (i, j // 64) of the key's stream. Costs
    inputs * outputs per row, and as many signs per call whatever the number of rows.
    """

    kind: ClassVar[str] = "rademacher"

    @property
    def chunk(self) -> int:
        return max(1, _BLOCK_SIGNS // self.outputs)

    def _transform(self, block: ColumnBlock) -> Tensor:
        signs = self.signs(block.start, block.stop, block.values.device)
        return block.values @ signs.to(block.values.dtype) / self.outputs**0.5

    def signs(self, start: int, stop: int, device: torch.device | str = "cpu") -> Tensor:
        """[stop - start, outputs] float32: the signs of the inputs from `start` to `stop`."""
        words_each = -(-self.outputs // 64)
        counters = torch.arange(start * words_each, stop * words_each, device=device)
        words = random_words(self._key("signs"), counters)
        octets = (words.unsqueeze(1) >> _shifts(words.device)) & 255
        # Indexing with brackets does the same many times slower.
        signs = _octet_signs(words.device).index_select(0, octets.flatten())
        return signs.view(stop - start, words_each * 64)[:, : self.outputs]


@cache
def _shifts(device: torch.device) -> Tensor:
    return torch.arange(0, 64, 8, device=device)


@cache
def _octet_signs(device: torch.device) -> Tensor:
    """[256, 8] float32: the eight signs of every octet, lowest bit first, a set bit for -1."""
    bits = torch.arange(256, device=device).unsqueeze(1) >> torch.arange(8, device=device) & 1
    return (1 - 2 * bits).float()
