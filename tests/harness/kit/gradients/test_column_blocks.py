"""However a matrix is cut into blocks of columns, what is computed from it is the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from harness.errors import HarnessError
from harness.kit.gradients.column_blocks import ColumnBlock, aligned, joined, products

WIDTH = 23
cuts = st.lists(st.integers(1, WIDTH - 1), unique=True, max_size=8).map(sorted)


def matrix() -> Tensor:
    return torch.randn(4, WIDTH, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def blocks(edges: Iterable[int]) -> list[ColumnBlock]:
    bounds = [0, *edges, WIDTH]
    return [ColumnBlock(start, matrix()[:, start:stop]) for start, stop in pairwise(bounds)]


@given(cuts)
def test_joined_blocks_are_the_matrix(edges: list[int]) -> None:
    assert torch.equal(joined(blocks(edges), WIDTH), matrix())


@given(cuts, st.integers(1, 30))
def test_aligned_blocks_do_not_depend_on_the_cuts(edges: list[int], chunk: int) -> None:
    found = list(aligned(blocks(edges), chunk, WIDTH))
    assert [block.start for block in found] == list(range(0, WIDTH, chunk))
    assert {block.values.shape[1] for block in found[:-1]} <= {chunk}
    assert torch.equal(joined(found, WIDTH), matrix())


@given(cuts)
def test_products_are_those_of_the_whole_matrix(edges: list[int]) -> None:
    directions = torch.randn(3, WIDTH, dtype=torch.float64)
    dots, squares = products(blocks(edges), directions)
    torch.testing.assert_close(dots, matrix() @ directions.T)
    torch.testing.assert_close(squares, matrix().norm(dim=1) ** 2)


def all_products(given: list[ColumnBlock]) -> None:
    products(given, torch.zeros(2, WIDTH))


CONSUMERS: dict[str, Callable[[list[ColumnBlock]], object]] = {
    "joined": lambda given: joined(given, WIDTH),
    "aligned": lambda given: list(aligned(given, 5, WIDTH)),
    "products": all_products,
}


@pytest.mark.parametrize("consumer", CONSUMERS)
class TestRefuses:
    def test_a_missing_first_or_last_block(self, consumer: str) -> None:
        with pytest.raises(HarnessError, match="end at column 10 of 23"):
            CONSUMERS[consumer](blocks([5, 10])[:2])
        with pytest.raises(HarnessError, match="block of columns from 0"):
            CONSUMERS[consumer](blocks([5, 10])[1:])

    def test_blocks_out_of_order_or_twice(self, consumer: str) -> None:
        first, second, third = blocks([5, 10])
        with pytest.raises(HarnessError, match="from 5 to at most 23, got 10 to 23"):
            CONSUMERS[consumer]([first, third, second])
        with pytest.raises(HarnessError, match="from 5 to at most 23, got 0 to 5"):
            CONSUMERS[consumer]([first, first, second, third])

    def test_more_columns_than_announced(self, consumer: str) -> None:
        with pytest.raises(HarnessError, match="from 23 to at most 23"):
            CONSUMERS[consumer]([*blocks([5]), ColumnBlock(23, torch.zeros(4, 1))])
