"""The interface of random projections, applied to a matrix that comes in column blocks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from harness.errors import HarnessError, UsageError
from harness.kit.counter_hash import stream_key
from harness.kit.gradients.column_blocks import ColumnBlock, aligned


@dataclass(frozen=True)
class Projector(ABC):
    """A linear map from `inputs` to `outputs` numbers, drawn by `seed`.

    E[<Px, Py>] = <x, y> over seeds. The map is a function of its kind, seed, inputs and outputs
    alone: devices, dtypes, batches and blocks change nothing but rounding.
    """

    inputs: int
    outputs: int
    seed: int = 0

    kind: ClassVar[str]

    def __post_init__(self) -> None:
        if self.inputs < 1 or self.outputs < 1:
            raise UsageError(f"a projection from {self.inputs} to {self.outputs} numbers")

    def project(self, rows: Tensor) -> Tensor:
        """[n, outputs] from [n, inputs]."""
        return self.project_blocks([ColumnBlock(0, rows)])

    def project_blocks(self, blocks: Iterable[ColumnBlock]) -> Tensor:
        """As `project`, from the rows' columns in ascending blocks; equal to the last bit.

        Raises:
            HarnessError: a block is missing or out of order.
        """
        total: Tensor | None = None
        for block in aligned(blocks, self.chunk, self.inputs):
            part = self._transform(block)
            total = part if total is None else total + part
        if total is None:
            raise HarnessError("there are no columns to project")
        return total

    def manifest(self) -> dict[str, Any]:
        """What identifies the map, for features that must never be mixed."""
        return {
            "kind": self.kind,
            "seed": self.seed,
            "inputs": self.inputs,
            "outputs": self.outputs,
        }

    @property
    @abstractmethod
    def chunk(self) -> int:
        """How many columns are transformed at once."""

    @abstractmethod
    def _transform(self, block: ColumnBlock) -> Tensor:
        """[n, outputs]: the share of at most `chunk` columns that start at a multiple of it."""

    def _key(self, *parts: str) -> int:
        return stream_key("projection", self.kind, self.seed, self.inputs, self.outputs, *parts)
