"""The direction of an example is the step that a real optimiser takes with its gradient."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from harness.errors import UsageError
from harness.kit.gradients.adam_direction import AdamState
from harness.kit.gradients.column_blocks import ColumnBlock
from harness.kit.training.parameter_layout import ParameterLayout

RATE = 0.01
Make = Callable[[nn.Module], Optimizer]


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2)).double()


def trained(make: Make, steps: int, net: nn.Module | None = None) -> tuple[nn.Module, Optimizer]:
    net = net or model()
    optimizer = make(net)
    for _ in range(steps):
        optimizer.zero_grad()
        net(torch.randn(5, 3, dtype=torch.float64)).square().sum().backward()
        optimizer.step()
    optimizer.zero_grad()
    return net, optimizer


def moved(
    net: nn.Module, optimizer: Optimizer, gradient: dict[str, Tensor], decay: float
) -> Tensor:
    """What a copy of the optimiser subtracts for this gradient, less the decay, over the rate."""
    net, optimizer = copy.deepcopy((net, optimizer))
    layout = ParameterLayout.of(net)
    before = layout.flatten(dict(net.named_parameters())).detach().clone()
    for name, parameter in net.named_parameters():
        parameter.grad = gradient[name].clone()
    optimizer.step()
    after = layout.flatten(dict(net.named_parameters())).detach()
    return (before * (1 - RATE * decay) - after) / RATE


OPTIMIZERS: dict[str, tuple[float, Make]] = {
    "Adam": (0.0, lambda net: Adam(net.parameters(), lr=RATE)),
    "AdamW with decay": (0.3, lambda net: AdamW(net.parameters(), lr=RATE, weight_decay=0.3)),
    "AdamW, fused": (0.0, lambda net: AdamW(net.parameters(), RATE, weight_decay=0, fused=True)),
    "Adam, other settings": (
        0.0,
        lambda net: Adam(net.parameters(), lr=RATE, betas=(0.6, 0.95), eps=1e-3),
    ),
    "two groups in another order": (
        0.0,
        lambda net: AdamW(
            [
                {"params": [p for p in net.parameters() if p.ndim == 1], "weight_decay": 0.0},
                {"params": [p for p in net.parameters() if p.ndim == 2]},
            ],
            lr=RATE,
            weight_decay=0.0,
        ),
    ),
}


@pytest.mark.parametrize("steps", [0, 1, 7])
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_it_is_the_step_of_the_optimiser(kind: str, steps: int) -> None:
    decay, make = OPTIMIZERS[kind]
    net, optimizer = trained(make, steps)
    layout = ParameterLayout.of(net)
    state = AdamState.of(optimizer, net, layout)
    gradients = torch.randn(3, layout.size, dtype=torch.float64)
    found = state.direction(ColumnBlock(0, gradients)).values
    named = layout.split(gradients)
    for row in range(3):
        own = {name: values[row] for name, values in named.items()}
        expected = moved(net, optimizer, own, decay)
        torch.testing.assert_close(found[row], expected, rtol=1e-8, atol=1e-10)


def test_a_parameter_that_was_never_updated_takes_its_first_step() -> None:
    net = model()
    net[2].bias.requires_grad_(False)
    net, optimizer = trained(OPTIMIZERS["Adam"][1], 5, net)
    net[2].bias.requires_grad_(True)
    layout = ParameterLayout.of(net)
    state = AdamState.of(optimizer, net, layout)
    assert state.steps == (5, 5, 5, 5, 5, 0)
    gradient = torch.randn(layout.size, dtype=torch.float64)
    expected = moved(net, optimizer, layout.split(gradient), 0.0)
    found = state.direction(ColumnBlock(0, gradient.unsqueeze(0))).values[0]
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)


@settings(max_examples=20)
@given(st.lists(st.integers(1, 35), unique=True, max_size=6).map(sorted))
def test_blocks_may_begin_and_end_anywhere(edges: list[int]) -> None:
    net, optimizer = trained(OPTIMIZERS["Adam"][1], 3)
    layout = ParameterLayout.of(net)
    state = replace(AdamState.of(optimizer, net, layout), steps=(0, 1, 2, 3, 4, 5))
    gradients = torch.randn(2, layout.size, dtype=torch.float64)
    whole = state.direction(ColumnBlock(0, gradients)).values
    bounds = [0, *edges, layout.size]
    parts = [state.direction(ColumnBlock(a, gradients[:, a:b])) for a, b in pairwise(bounds)]
    assert [part.start for part in parts] == bounds[:-1]
    assert torch.equal(torch.cat([part.values for part in parts], 1), whole)


def test_the_published_formula_of_less_has_no_correction_and_eps_under_the_root() -> None:
    net, optimizer = trained(OPTIMIZERS["Adam"][1], 3)
    layout = ParameterLayout.of(net)
    state = AdamState.of(optimizer, net, layout)
    gradients = 1e-4 * torch.randn(2, layout.size, dtype=torch.float64)
    found = state.direction(ColumnBlock(0, gradients), "less").values
    for row in range(2):
        for column in range(layout.size):
            g, m, v = (float(x) for x in (gradients[row, column], state.first[column],
                                          state.second[column]))  # fmt: skip
            expected = (0.9 * m + 0.1 * g) / (0.999 * v + 0.001 * g * g + 1e-8) ** 0.5
            assert float(found[row, column]) == pytest.approx(expected, rel=1e-10)


def test_names_decide_and_not_the_order_of_the_saved_state() -> None:
    net, optimizer = trained(OPTIMIZERS["Adam"][1], 3)
    layout = ParameterLayout.of(net)
    live = AdamState.of(optimizer, net, layout)
    states = {name: optimizer.state[p] for name, p in reversed(list(net.named_parameters()))}
    saved = AdamState.named(
        layout,
        {name: state["exp_avg"] for name, state in states.items()},
        {name: state["exp_avg_sq"] for name, state in states.items()},
        {name: int(state["step"]) for name, state in states.items()},
    )
    assert torch.equal(saved.first, live.first)
    assert torch.equal(saved.second, live.second)
    assert saved.steps == live.steps


class TestRefuses:
    def parts(self) -> tuple[ParameterLayout, dict[str, Tensor], dict[str, int]]:
        layout = ParameterLayout.of(model())
        moments = {slot.name: torch.ones(slot.shape) for slot in layout.slots}
        return layout, moments, dict.fromkeys(layout.names, 1)

    def test_moments_that_do_not_fit_by_name_or_shape(self) -> None:
        layout, moments, steps = self.parts()
        renamed = {name.replace("0.weight", "0.w"): value for name, value in moments.items()}
        with pytest.raises(UsageError, match=r"missing 0\.weight; unknown 0\.w"):
            AdamState.named(layout, renamed, moments, steps)
        with pytest.raises(UsageError, match=r"'0\.weight' has shape \[3, 4\], .* \[4, 3\]"):
            AdamState.named(layout, moments, {**moments, "0.weight": torch.ones(3, 4)}, steps)
        with pytest.raises(UsageError, match=r"no step for parameter '0\.weight'"):
            AdamState.named(layout, moments, moments, {"0.bias": 1})

    @pytest.mark.parametrize(("value", "reason"), [(-1.0, "exchanged"), (float("nan"), "finite")])
    def test_moments_that_no_optimiser_has(self, value: float, reason: str) -> None:
        layout, moments, steps = self.parts()
        wrong = {**moments, "1.bias": torch.full((4,), value)}
        with pytest.raises(UsageError, match=reason):
            AdamState.named(layout, moments, wrong, steps)

    @pytest.mark.parametrize(
        ("options", "reason"),
        [
            ({"amsgrad": True}, "amsgrad"),
            ({"maximize": True}, "maximize"),
            ({"weight_decay": 0.1}, "added to the gradient"),
        ],
    )
    def test_an_adam_that_moves_otherwise(self, options: dict[str, Any], reason: str) -> None:
        net, optimizer = trained(lambda net: Adam(net.parameters(), lr=RATE, **options), 1)
        with pytest.raises(UsageError, match=reason):
            AdamState.of(optimizer, net, ParameterLayout.of(net))

    def test_another_optimiser_or_one_of_another_model(self) -> None:
        net, optimizer = trained(lambda net: SGD(net.parameters(), lr=RATE), 1)
        with pytest.raises(UsageError, match="not Adam"):
            AdamState.of(optimizer, net, ParameterLayout.of(net))
        with pytest.raises(UsageError, match=r"does not train '0\.weight'"):
            AdamState.of(optimizer, model(), ParameterLayout.of(net))

    def test_groups_with_different_betas(self) -> None:
        net = model()
        groups = [
            {"params": net[0].parameters()},
            {"params": net[2].parameters(), "betas": (0.5, 0.9)},
        ]
        optimizer = AdamW(groups, lr=RATE)
        layout = ParameterLayout.of(net, ["0.weight", "2.weight"])
        with pytest.raises(UsageError, match="differ in betas"):
            AdamState.of(optimizer, net, layout)
