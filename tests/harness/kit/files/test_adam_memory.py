"""An optimiser that got its memory back goes on as the one it was taken from."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import Adam, AdamW

from harness.kit.files.adam_memory import AdamMemory


def make() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2), nn.Linear(7, 7))


def update(net: Any, optimizer: torch.optim.Optimizer, number: int) -> None:
    """The last layer never gets a gradient."""
    inputs = torch.randn(5, 3, generator=torch.Generator().manual_seed(number))
    optimizer.zero_grad()
    net[1](net[0](inputs)).square().mean().backward()
    optimizer.step()


@pytest.mark.parametrize(
    ("kind", "options"), [(AdamW, {"fused": True}), (AdamW, {"fused": False}), (Adam, {})]
)
def test_updates_go_on_bit_for_bit(kind: type, options: dict[str, Any]) -> None:
    net = make()
    optimizer = kind(net.parameters(), lr=0.1, **options)
    for number in range(3):
        update(net, optimizer, number)
    kept = {
        name: array.copy()
        for name, array in AdamMemory.of(optimizer, dict(net.named_parameters())).arrays().items()
    }
    other = copy.deepcopy(net)
    update(net, optimizer, 3)

    again = kind(other.parameters(), lr=0.1, **options)
    AdamMemory.of_arrays(kept).put(again, dict(other.named_parameters()))
    update(other, again, 3)
    for one, two in zip(net.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)
    assert {name for name in kept if name.startswith("steps/")} == {
        f"steps/{layer}.{part}" for layer in (0, 1) for part in ("weight", "bias")
    }
    assert np.array_equal(kept["steps/0.weight"], [3])
