"""No projection: features as long as the gradients themselves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from harness.errors import UsageError
from harness.kit.gradients.column_blocks import ColumnBlock, joined
from harness.kit.gradients.projection.projector import Projector


@dataclass(frozen=True)
class Identity(Projector):
    """Px = x; the seed means nothing."""

    kind: ClassVar[str] = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.inputs != self.outputs:
            raise UsageError(
                f"without projection {self.inputs} numbers stay {self.inputs}, not {self.outputs}"
            )

    def project_blocks(self, blocks: Iterable[ColumnBlock]) -> Tensor:
        return joined(blocks, self.inputs)

    @property
    def chunk(self) -> int:
        return self.inputs

    def _transform(self, block: ColumnBlock) -> Tensor:
        return block.values
