"""Subsampled randomised Hadamard transform (SRHT)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from harness.kit.counter_hash import random_signs, random_words
from harness.kit.gradients.column_blocks import ColumnBlock
from harness.kit.gradients.projection.projector import Projector

_LARGEST_CHUNK = 1 << 16
_LARGEST_FACTOR = 1 << 8


@dataclass(frozen=True)
class SRHT(Projector):
    """Subsampled randomised Hadamard transform (Ailon and Chazelle 2009; Tropp 2011).

    Inputs are signed at random, transformed in chunks of 2^q <= 65,536 (one chunk, padded with
    zeros, where they fit), and `outputs` coordinates, the same of every chunk, are signed again
    and summed (Balabanov, Beaupere, Grigori and Lederer 2022: block SRHT). Without the second
    signs equal places of two chunks would fall on one another. Costs inputs * q additions per
    row, done as products with small Hadamard matrices.
    """

    kind: ClassVar[str] = "srht"

    @property
    def chunk(self) -> int:
        return max(min(_power_of_two(self.inputs), _LARGEST_CHUNK), _power_of_two(self.outputs))

    def _transform(self, block: ColumnBlock) -> Tensor:
        values, index = block.values, block.start // self.chunk
        device, dtype = values.device, values.dtype
        signed = values * random_signs(self._key("in"), block.start, block.stop, device, dtype)
        padded = functional.pad(signed, (0, self.chunk - signed.shape[1]))
        kept = walsh_hadamard(padded)[:, self.sampled(device)]
        first = index * self.outputs
        again = random_signs(self._key("out"), first, first + self.outputs, device, dtype)
        return kept * again / self.outputs**0.5

    def sampled(self, device: torch.device | str = "cpu") -> Tensor:
        """[outputs] different coordinates of a chunk, those with the least random words."""
        words = random_words(self._key("sample"), torch.arange(self.chunk, device=device))
        return torch.argsort(words, stable=True)[: self.outputs]


def walsh_hadamard(rows: Tensor) -> Tensor:
    """Each row times the unscaled Hadamard matrix in Sylvester's order, [n, 2^q] to [n, 2^q].

    The matrix is a Kronecker product of smaller ones, so a row is folded into a box and every
    side of the box is transformed by a matrix product.
    """
    width = rows.shape[1]
    inner = 1
    while inner < width:
        factor = min(_LARGEST_FACTOR, width // inner)
        box = rows.reshape(len(rows), width // (factor * inner), factor, inner)
        matrix = _hadamard(factor, rows.device, rows.dtype)
        rows = (box.squeeze(-1) @ matrix if inner == 1 else matrix @ box).reshape(-1, width)
        inner *= factor
    return rows


@cache
def _hadamard(size: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """[size, size] of -1 and 1: Sylvester's doubling, H to (H, H; H, -H)."""
    matrix = torch.ones(1, 1, device=device, dtype=dtype)
    while len(matrix) < size:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return matrix


def _power_of_two(size: int) -> int:
    return 1 << (size - 1).bit_length()
