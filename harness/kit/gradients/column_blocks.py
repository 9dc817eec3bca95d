"""Matrices too wide to hold: streams of blocks of neighbouring columns, and products with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.errors import HarnessError


@dataclass(frozen=True)
class ColumnBlock:
    """Columns `start` to `stop` of a matrix; values: [n, stop - start]."""

    start: int
    values: Tensor

    @property
    def stop(self) -> int:
        return self.start + self.values.shape[1]


def joined(blocks: Iterable[ColumnBlock], width: int) -> Tensor:
    """The whole matrix, [n, width].

    Raises:
        HarnessError: the blocks are not neighbours in ascending order that fill `width`.
    """
    return torch.cat([block.values for block in _complete(blocks, width)], dim=1)


def aligned(blocks: Iterable[ColumnBlock], chunk: int, width: int) -> Iterator[ColumnBlock]:
    """The same columns regrouped so that every block but the last has exactly `chunk` columns.

    What is computed from these blocks is then the same, bit for bit, however the matrix was cut.

    Raises:
        HarnessError: the blocks are not neighbours in ascending order that fill `width`.
    """
    pending: list[Tensor] = []
    start, held = 0, 0
    for block in _complete(blocks, width):
        rest = block.values
        while held + rest.shape[1] >= chunk:
            part, rest = rest[:, : chunk - held], rest[:, chunk - held :]
            yield ColumnBlock(start, _merge([*pending, part]))
            start, held, pending = start + chunk, 0, []
        if rest.shape[1]:
            pending.append(rest)
            held += rest.shape[1]
    if held:
        yield ColumnBlock(start, _merge(pending))


def products(blocks: Iterable[ColumnBlock], directions: Tensor) -> tuple[Tensor, Tensor]:
    """Inner products of the rows with some directions, and the rows' squared lengths.

    Nothing of the matrix's width but one block is held at a time.

    Args:
        directions: [s, width].

    Returns:
        [n, s] and [n], in the dtype of the blocks.

    Raises:
        HarnessError: the blocks are not neighbours in ascending order that fill the directions.
    """
    dots: Tensor | None = None
    squares: Tensor | None = None
    for block in _complete(blocks, directions.shape[1]):
        own = directions[:, block.start : block.stop].to(block.values)
        dot, square = block.values @ own.T, block.values.square().sum(1)
        dots = dot if dots is None else dots + dot
        squares = square if squares is None else squares + square
    if dots is None or squares is None:
        raise HarnessError("a matrix without columns has no products")
    return dots, squares


def _complete(blocks: Iterable[ColumnBlock], width: int) -> Iterator[ColumnBlock]:
    """The blocks as they come, with a check that none is missing, doubled or out of order."""
    expected = 0
    for block in blocks:
        if block.start != expected or block.stop > width:
            raise HarnessError(
                f"expected a block of columns from {expected} to at most {width},"
                f" got {block.start} to {block.stop}"
            )
        expected = block.stop
        yield block
    if expected != width:
        raise HarnessError(f"the blocks end at column {expected} of {width}")


def _merge(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
