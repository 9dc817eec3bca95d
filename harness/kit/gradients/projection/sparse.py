"""Sparse Johnson-Lindenstrauss projection: each input goes to a few of the outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from harness.errors import UsageError
from harness.kit.counter_hash import random_words
from harness.kit.gradients.column_blocks import ColumnBlock
from harness.kit.gradients.projection.projector import Projector

_CHUNK = 1 << 16
_LOW = 0x7FFFFFFF


@dataclass(frozen=True)
class SparseJL(Projector):
    """`nonzeros` entries +-1/sqrt(nonzeros) for each input (Kane and Nelson 2014, section 3).

    The outputs are cut into as many equal parts as there are non-zeros, and an input has one
    place in each. With one it is the count sketch (Charikar, Chen and Farach-Colton 2002). Costs
    `nonzeros` additions per input and row.
    """

    nonzeros: int = 1

    kind: ClassVar[str] = "sparse"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nonzeros < 1 or self.outputs % self.nonzeros:
            raise UsageError(
                f"{self.nonzeros} non-zeros for each input do not divide {self.outputs} outputs"
            )

    def manifest(self) -> dict[str, Any]:
        return {**super().manifest(), "nonzeros": self.nonzeros}

    @property
    def chunk(self) -> int:
        return _CHUNK

    def places(self, start: int, stop: int, device: torch.device | str) -> tuple[Tensor, Tensor]:
        """Outputs and signs of the inputs from `start` to `stop`, both [stop - start, nonzeros].

        A word's sign bit is the sign; the 31 lowest bits, as a fraction, the place in the part.
        """
        counters = torch.arange(start * self.nonzeros, stop * self.nonzeros, device=device)
        words = random_words(self._key("places", str(self.nonzeros)), counters)
        part = self.outputs // self.nonzeros
        within = ((words & _LOW) * part >> 31).view(-1, self.nonzeros)
        first = torch.arange(self.nonzeros, device=device) * part
        return within + first, torch.where(words < 0, -1, 1).view(-1, self.nonzeros)

    def _transform(self, block: ColumnBlock) -> Tensor:
        values = block.values
        places, signs = self.places(block.start, block.stop, values.device)
        total = values.new_zeros(self.outputs, len(values))
        columns = values.T.contiguous()
        for place, sign in zip(places.unbind(1), signs.to(values.dtype).unbind(1), strict=True):
            total.index_add_(0, place, columns * sign.unsqueeze(1))
        return total.T / self.nonzeros**0.5
