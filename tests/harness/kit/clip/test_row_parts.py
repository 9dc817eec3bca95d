"""Equal rows encoded once, and batches in parts: the same values and gradients as all at once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from harness.kit.clip.row_parts import each_once, in_parts

TOKENS = torch.tensor([[3, 1], [0, 2], [3, 1], [4, 4], [0, 2], [3, 1]])


def encoder() -> tuple[nn.Embedding, list[int]]:
    torch.manual_seed(0)
    return nn.Embedding(5, 3, dtype=torch.float64), []


@pytest.mark.parametrize("size", [0, 2, 4])
def test_values_and_gradients_are_those_of_every_row_by_itself(size: int) -> None:
    table, _ = encoder()
    scale = torch.arange(1.0, 7.0, dtype=torch.float64)

    def encode(tokens: Tensor) -> tuple[Tensor, Tensor]:
        made = table(tokens).tanh()
        return made.sum(1), made

    def gradient(made: tuple[Tensor, ...]) -> Tensor:
        table.zero_grad()
        ((made[0].sum(1) + made[1].square().sum((1, 2))) * scale).sum().backward()
        assert table.weight.grad is not None
        return table.weight.grad.clone()

    plain = encode(TOKENS)
    once = in_parts(lambda part: each_once(encode, part), size, TOKENS)
    for one, other in zip(plain, once, strict=True):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(gradient(once), gradient(plain))


def test_equal_rows_are_encoded_once() -> None:
    _, seen = encoder()

    def encode(tokens: Tensor) -> tuple[Tensor]:
        seen.append(len(tokens))
        return (tokens,)

    (made,) = each_once(encode, TOKENS)
    assert torch.equal(made, TOKENS)
    assert seen == [3]
    each_once(encode, TOKENS[:2])
    assert seen == [3, 2]
