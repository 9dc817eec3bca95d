"""The optimiser of both models, against AdamW with clipping and a schedule written out."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from harness.errors import HarnessError
from harness.types import Recipe
from harness_dilm.optimiser import Optimiser

RECIPE = Recipe(
    steps=8,
    learning_rate=0.1,
    warmup=0.25,
    weight_decay=0.3,
    clip_norm=0.5,
    schedule="cosine",
)


class Net(nn.Module):
    """A decayed weight, a bias that is exempt, and a frozen layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 2).double()
        self.frozen = nn.Linear(2, 2).double().requires_grad_(False)

    def gradients(self, number: int) -> dict[str, torch.Tensor]:
        rng = torch.Generator().manual_seed(number)
        return {
            name: torch.randn(p.shape, generator=rng, dtype=torch.float64)
            for name, p in self.layer.named_parameters()
        }

    def receive(self, gradients: dict[str, torch.Tensor]) -> None:
        for name, parameter in self.layer.named_parameters():
            parameter.grad = gradients[name].clone()


def test_updates_are_adamw_clipped_and_scheduled_as_written_out() -> None:
    net = Net()
    optimiser = Optimiser(net, RECIPE, "it")
    expected = {name: p.detach().clone() for name, p in net.layer.named_parameters()}
    first = {name: torch.zeros_like(p) for name, p in expected.items()}
    second = {name: torch.zeros_like(p) for name, p in expected.items()}
    for step in range(6):
        gradients = net.gradients(step)
        net.receive(gradients)
        norm = math.sqrt(sum(float(g.square().sum()) for g in gradients.values()))
        assert optimiser.step() == pytest.approx(norm, rel=1e-12)
        rate = 0.1 * (step / 2 if step < 2 else 0.5 * (1 + math.cos(math.pi * (step - 2) / 6)))
        for name, gradient in gradients.items():
            clipped = gradient * min(1.0, 0.5 / (norm + 1e-6))
            first[name] = 0.9 * first[name] + 0.1 * clipped
            second[name] = 0.999 * second[name] + 0.001 * clipped**2
            decay = 0.3 if name == "weight" else 0.0
            mean = first[name] / (1 - 0.9 ** (step + 1))
            root = (second[name] / (1 - 0.999 ** (step + 1))).sqrt()
            expected[name] = expected[name] * (1 - rate * decay) - rate * mean / (root + 1e-8)
        for name, parameter in net.layer.named_parameters():
            torch.testing.assert_close(parameter.detach(), expected[name], rtol=1e-9, atol=1e-12)
            assert parameter.grad is None


def test_gradients_are_clipped_as_they_are_so_their_scale_beyond_the_bound_is_lost() -> None:
    """No loss scaling stands before the clipping: bfloat16 has the range of float32."""
    moved = []
    for scale in (4.0, 4.0 * 65536):
        net = Net()
        optimiser = Optimiser(net, RECIPE, "it")
        for step in range(3):
            net.receive({name: g * scale for name, g in net.gradients(step).items()})
            optimiser.step()
        moved.append(net.layer.weight.detach().clone())
    torch.testing.assert_close(moved[0], moved[1], rtol=1e-5, atol=1e-8)


def test_a_clip_norm_of_0_clips_nothing() -> None:
    one, other = Net(), Net()
    free = Recipe(steps=8, learning_rate=0.1, warmup=0.0, weight_decay=0.0, clip_norm=0.0)
    wide = Recipe(steps=8, learning_rate=0.1, warmup=0.0, weight_decay=0.0, clip_norm=1e9)
    for net, recipe in ((one, free), (other, wide)):
        optimiser = Optimiser(net, recipe, "it")
        for step in range(3):
            net.receive(net.gradients(step))
            optimiser.step()
    assert torch.equal(one.layer.weight, other.layer.weight)


@pytest.mark.parametrize("stop", [0, 1, 4])
def test_a_restored_one_goes_on_with_moments_rate_and_count(stop: int) -> None:
    whole, cut = Net(), Net()
    optimiser, before = Optimiser(whole, RECIPE, "it"), Optimiser(cut, RECIPE, "it")
    for step in range(stop):
        for net, each in ((whole, optimiser), (cut, before)):
            net.receive(net.gradients(step))
            each.step()
    arrays = {name: array.copy() for name, array in before.arrays().items()}
    after = Optimiser(cut, RECIPE, "it")
    after.restore(arrays)
    for step in range(stop, 6):
        for net, each in ((whole, optimiser), (cut, after)):
            net.receive(net.gradients(step))
            each.step()
    assert torch.equal(whole.layer.weight, cut.layer.weight)
    assert torch.equal(whole.layer.bias, cut.layer.bias)
    cut.receive({name: g * math.nan for name, g in cut.gradients(0).items()})
    with pytest.raises(HarnessError, match="training it diverged at step 7"):
        after.step()
