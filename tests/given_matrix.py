"""A projection by a matrix from elsewhere, applied block by block as ours are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from harness.kit.gradients.column_blocks import ColumnBlock
from harness.kit.gradients.projection.projector import Projector


@dataclass(frozen=True)
class GivenMatrix(Projector):
    """matrix: [inputs, outputs], divided by the root of the outputs."""

    matrix: Tensor = field(kw_only=True)

    kind: ClassVar[str] = "given"

    @classmethod
    def of(cls, matrix: Tensor) -> GivenMatrix:
        return cls(matrix.shape[0], matrix.shape[1], matrix=matrix)

    @property
    def chunk(self) -> int:
        return 37

    def _transform(self, block: ColumnBlock) -> Tensor:
        rows = self.matrix[block.start : block.stop]
        return block.values @ rows.to(block.values) / self.outputs**0.5
