"""The outer optimiser: torch's Adam, one step at a time."""

from __future__ import annotations

import torch

from harness.kit.trajectories.outer_loop import adam_step


def test_steps_are_those_of_torchs_adam() -> None:
    draw = torch.Generator().manual_seed(0)
    leaf = torch.randn(4, 3, generator=draw, dtype=torch.float64)
    known = leaf.clone().requires_grad_()
    optimizer = torch.optim.Adam([known], lr=0.1, eps=1e-12)
    moments = (torch.zeros_like(leaf), torch.zeros_like(leaf))
    for step in range(1, 6):
        gradient = torch.randn(4, 3, generator=draw, dtype=torch.float64)
        known.grad = gradient
        optimizer.step()
        leaf, moments = adam_step(leaf, gradient, moments, step, 0.1)
        torch.testing.assert_close(leaf, known.detach())


def test_what_has_no_gradient_stays_where_it_is() -> None:
    leaf, nothing = torch.ones(3), torch.zeros(3)
    moved, _ = adam_step(leaf, nothing, (nothing, nothing), 1, 0.1)
    assert torch.equal(moved, leaf)
