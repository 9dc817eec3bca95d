"""What hooks can lose, and that they either do not lose it or say so."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from harness.errors import HarnessError, UsageError
from harness.kit.gradients.per_example.backend import Batch
from harness.kit.gradients.per_example.hooks import HookGradients
from harness.kit.gradients.per_example.loop import LoopGradients
from harness.kit.training.parameter_layout import ParameterLayout


class Net(nn.Module):
    """Any layers under names, and a forward pass given as a function."""

    def __init__(self, forward: Callable[[Net, Tensor], Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self._forward = forward
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self._forward(self, x)


def net(forward: Callable[[Net, Tensor], Tensor], **layers: nn.Module) -> Net:
    return Net(forward, **layers).double().eval()


def losses(model: nn.Module, batch: Batch) -> Tensor:
    return (model(batch["x"]) - 0.5).square().flatten(1).sum(1)


def batch(*shape: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return {"x": torch.randn(*shape, generator=generator, dtype=torch.float64)}


def hooks(model: nn.Module, *, verify: bool = False) -> HookGradients:
    return HookGradients(model, losses, ParameterLayout.of(model), torch.float64, verify=verify)


def loop(model: nn.Module) -> LoopGradients:
    return LoopGradients(model, losses, ParameterLayout.of(model), torch.float64)


def linear(inputs: int = 4, outputs: int = 4) -> nn.Linear:
    return nn.Linear(inputs, outputs)


EXACT = {
    "a layer used three times": lambda: net(
        lambda m, x: m.a(torch.tanh(m.a(torch.sin(m.a(x))))), a=linear()
    ),
    "a layer used at two lengths": lambda: net(
        lambda m, x: m.a(x[:, :2]) + m.a(x)[:, 1:], a=linear()
    ),
    "checkpointing": lambda: net(
        lambda m, x: m.b(checkpoint(lambda y: torch.tanh(m.a(y)), x, use_reentrant=False)),
        a=linear(),
        b=linear(),
    ),
    "an output changed in place": lambda: net(
        lambda m, x: m.b(m.a(x).mul_(2).relu_()), a=linear(), b=linear()
    ),
    "a keyword argument": lambda: net(lambda m, x: m.a(input=x), a=linear()),
    "more dimensions than tokens": lambda: net(
        lambda m, x: m.a(x.unsqueeze(1).expand(-1, 2, -1, -1)), a=linear()
    ),
}


@pytest.mark.parametrize("case", EXACT)
def test_hooks_are_the_loop_for(case: str) -> None:
    model = EXACT[case]()
    rows = batch(5, 3, 4)
    found, expected = hooks(model, verify=True).matrix(rows), loop(model).matrix(rows)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_two_layers_that_share_a_weight_sum_both_uses() -> None:
    model = net(lambda m, x: m.b(torch.tanh(m.a(x))), a=linear(), b=linear())
    model.b.weight = model.a.weight
    layout = ParameterLayout.of(model)
    assert layout.names == ("a.weight", "a.bias", "b.bias")
    rows = batch(5, 3, 4)
    found = hooks(model, verify=True).matrix(rows)
    torch.testing.assert_close(found, loop(model).matrix(rows), rtol=1e-10, atol=1e-12)


def test_layers_that_read_frozen_or_nested_modules_are_no_obstacle() -> None:
    model = net(
        lambda m, x: m.b(m.mix(x.transpose(1, 2)).transpose(1, 2)),
        mix=nn.Conv1d(4, 4, 3, padding=1),
        b=linear(),
    )
    model.mix.requires_grad_(False)
    rows = batch(5, 3, 4)
    torch.testing.assert_close(hooks(model).matrix(rows), loop(model).matrix(rows))


def test_blocks_come_one_parameter_at_a_time_and_are_the_columns() -> None:
    model = net(lambda m, x: m.b(m.a(x)), a=linear(), b=linear())
    blocks = list(hooks(model).blocks(batch(5, 3, 4)))
    slots = ParameterLayout.of(model).slots
    assert [(b.start, b.stop) for b in blocks] == [(s.start, s.stop) for s in slots]
    whole = hooks(model).matrix(batch(5, 3, 4))
    assert torch.equal(torch.cat([b.values for b in blocks], 1), whole)


class TestRefuses:
    def test_a_layer_without_a_rule_by_its_name(self) -> None:
        model = net(lambda m, x: m.deep(x), deep=nn.Sequential(linear(), nn.Conv1d(3, 3, 1)))
        with pytest.raises(UsageError, match=r"'weight' of module 'deep.1' \(Conv1d\)"):
            hooks(model).matrix(batch(5, 3, 4))

    def test_a_linear_layer_with_a_forward_of_its_own(self) -> None:
        class Doubled(nn.Linear):
            def forward(self, input: Tensor) -> Tensor:
                return 2 * super().forward(input)

        with pytest.raises(UsageError, match=r"module 'a' \(Doubled\)"):
            hooks(net(lambda m, x: m.a(x), a=Doubled(4, 4))).matrix(batch(5, 4))

    def test_an_embedding_that_couples_the_rows_of_a_batch(self) -> None:
        table = nn.Embedding(4, 4, scale_grad_by_freq=True)
        with pytest.raises(UsageError, match="embedding 'a' scales"):
            hooks(net(lambda m, x: m.a(x.long().abs() % 4), a=table)).matrix(batch(5, 3))

    def test_a_layer_that_reads_one_tensor_for_all_rows(self) -> None:
        model = net(
            lambda m, x: x + m.places(torch.arange(3).unsqueeze(0)), places=nn.Embedding(3, 4)
        )
        with pytest.raises(UsageError, match=r"'places' .* shape \[1, 3\].* batch of 5"):
            hooks(model).matrix(batch(5, 3, 4))
        one = batch(1, 3, 4)
        torch.testing.assert_close(hooks(model).matrix(one), loop(model).matrix(one))

    def test_a_layer_whose_weight_is_used_without_calling_it(self) -> None:
        model = net(lambda m, x: functional.linear(m.a(x), m.b.weight), a=linear(), b=linear())
        with pytest.raises(HarnessError, match=r"'b.weight' .* outside"):
            hooks(model).matrix(batch(5, 3, 4))

    def test_a_weight_used_in_its_layer_and_elsewhere_when_asked_to_verify(self) -> None:
        model = net(lambda m, x: functional.linear(m.a(x), m.a.weight), a=linear())
        with pytest.raises(HarnessError, match=r"'a.weight' .* outside"):
            hooks(model, verify=True).matrix(batch(5, 3, 4))

    def test_a_first_dimension_that_is_no_batch_when_asked_to_verify(self) -> None:
        model = net(lambda m, x: m.a(x.transpose(0, 1)).transpose(0, 1), a=linear())
        with pytest.raises(HarnessError, match="first dimension is not the batch"):
            hooks(model, verify=True).matrix(batch(3, 3, 4))

    def test_a_norm_that_reads_more_than_one_tensor(self) -> None:
        class GateRMSNorm(nn.RMSNorm):
            def forward(self, x: Tensor, gate: Tensor) -> Tensor:
                return super().forward(x * gate)

        model = net(lambda m, x: m.a(x, gate=x), a=GateRMSNorm(4))
        with pytest.raises(UsageError, match="'a' is called with 2 arguments"):
            hooks(model).matrix(batch(5, 3, 4))

    def test_an_input_changed_in_place_after_it_was_read(self) -> None:
        def forward(m: Net, x: Tensor) -> Tensor:
            y = x.clone()
            return m.a(y) + y.add_(1)

        model = net(forward, a=nn.LayerNorm(4))
        with pytest.raises(UsageError, match="input of 'a' is changed in place"):
            hooks(model).matrix(batch(5, 3, 4))

    def test_checkpointing_that_runs_without_a_graph(self) -> None:
        model = net(
            lambda m, x: checkpoint(m.a, x.requires_grad_(), use_reentrant=True), a=linear()
        )
        with pytest.raises(UsageError, match="'a' is called without a graph"):
            hooks(model).matrix(batch(5, 3, 4))
