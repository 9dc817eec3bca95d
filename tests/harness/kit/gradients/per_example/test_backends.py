"""Loop and hooks give the gradients of each example's own loss, whatever its neighbours."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev

from harness.errors import HarnessError, UsageError
from harness.kit.gradients.per_example.backend import Batch, PerExampleGradients
from harness.kit.gradients.per_example.hooks import HookGradients
from harness.kit.gradients.per_example.loop import LoopGradients
from harness.kit.language.labelled_rows import LabelledRows
from harness.kit.language.loss import example_losses
from harness.kit.training.batching import PaddingSide
from harness.kit.training.parameter_layout import ParameterLayout

from .conftest import PAD, make_model, make_rows

BACKENDS: dict[str, type[PerExampleGradients]] = {
    "loop": LoopGradients,
    "hooks": HookGradients,
}


def gradients(
    kind: str, model: nn.Module, batch: Batch, loss: Any = None, **options: Any
) -> Tensor:
    layout = options.pop("layout", None) or ParameterLayout.of(model)
    return BACKENDS[kind](model, loss or example_losses, layout, **options).matrix(batch)


def everything(rows: LabelledRows) -> dict[str, Tensor]:
    return rows.batch(range(len(rows)), PAD, "cpu")


def assert_rows_close(found: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    assert found.shape == expected.shape
    errors = (found - expected).norm(dim=1) / expected.norm(dim=1)
    assert float(errors.max()) < tolerance


class Tokenwise(nn.Module):
    """Layers over tokens, whose outputs are summed to a loss in float64 without any float32."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(7, 6, padding_idx=0)
        self.norm = nn.LayerNorm((2, 3))
        self.inner = nn.Linear(6, 5)
        self.root = nn.RMSNorm(5)
        self.outer = nn.Linear(5, 6, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        hidden = self.table(ids)
        for _ in range(2):
            hidden = hidden + self.outer(self.root(torch.tanh(self.inner(hidden))))
        return self.norm(hidden.unflatten(-1, (2, 3))).flatten(-2)


def tokenwise() -> Tokenwise:
    torch.manual_seed(3)
    model = Tokenwise().double().eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.7)
    return model


def squared_losses(model: nn.Module, batch: Batch) -> Tensor:
    return (model(batch["ids"]) - 1).square().sum((1, 2))


TOKENS = {"ids": torch.tensor([[1, 2, 3], [3, 3, 0], [0, 0, 6]])}


class TestAgainstTheJacobian:
    @pytest.mark.parametrize("kind", BACKENDS)
    def test_in_double_precision_every_backend_is_the_jacobian_of_the_losses(
        self, kind: str
    ) -> None:
        model = tokenwise()
        found = gradients(kind, model, TOKENS, squared_losses, dtype=torch.float64)
        parameters = {name: p.detach() for name, p in model.named_parameters()}

        def losses(values: dict[str, Tensor]) -> Tensor:
            return (functional_call(model, values, (TOKENS["ids"],)) - 1).square().sum((1, 2))

        jacobian = jacrev(losses)(parameters)
        expected = torch.cat([jacobian[name].flatten(1) for name in parameters], dim=1)
        assert found.dtype == torch.float64
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)

    def test_the_loss_of_a_row_is_over_its_own_labelled_tokens(self) -> None:
        model, rows = make_model("llama with LoRA"), make_rows()
        losses = example_losses(model, everything(rows))
        for row, loss in enumerate(losses):
            ids = torch.from_numpy(rows.rows.ids[row]).unsqueeze(0)
            scores = torch.log_softmax(model(input_ids=ids).logits[0], -1)
            labels = rows.labels[row]
            own = [-scores[t - 1, labels[t]] for t in range(1, len(labels)) if labels[t] >= 0]
            torch.testing.assert_close(loss, torch.stack(own).mean())


class TestBackendsAgree:
    @pytest.mark.parametrize("side", ["left", "right"])
    def test_on_padded_rows(self, any_model: nn.Module, side: PaddingSide) -> None:
        batch = everything(make_rows(side=side))
        assert "attention_mask" in batch
        found = gradients("hooks", any_model, batch)
        assert_rows_close(found, gradients("loop", any_model, batch))

    @pytest.mark.parametrize("kind", BACKENDS)
    @pytest.mark.parametrize("side", ["left", "right"])
    def test_with_the_row_alone_and_without_padding(
        self, any_model: nn.Module, kind: str, side: PaddingSide
    ) -> None:
        rows = make_rows(side=side)
        together = gradients(kind, any_model, everything(rows))
        alone = [gradients(kind, any_model, rows.batch([row], PAD, "cpu")) for row in range(4)]
        assert_rows_close(together, torch.cat(alone))

    def test_the_sum_over_rows_is_the_gradient_of_the_summed_losses(
        self, any_model: nn.Module
    ) -> None:
        batch = everything(make_rows())
        found = gradients("hooks", any_model, batch)
        example_losses(any_model, batch).sum().backward()
        layout = ParameterLayout.of(any_model)
        whole = layout.flatten({n: p.grad for n, p in layout.parameters(any_model).items()})
        assert_rows_close(found.sum(0, keepdim=True), whole.unsqueeze(0))

    @pytest.mark.parametrize("kind", BACKENDS)
    def test_two_passes_are_equal_to_the_last_bit_and_leave_no_trace(self, kind: str) -> None:
        model, batch = make_model("llama with LoRA"), everything(make_rows())
        before = {name: value.clone() for name, value in model.state_dict().items()}
        assert torch.equal(gradients(kind, model, batch), gradients(kind, model, batch))
        assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
        assert all(parameter.grad is None for parameter in model.parameters())
        assert not any(part._forward_hooks for part in model.modules())

    @pytest.mark.parametrize("kind", BACKENDS)
    def test_columns_follow_the_layout_and_not_the_model(self, kind: str) -> None:
        model, batch = make_model("llama with LoRA"), everything(make_rows())
        natural = ParameterLayout.of(model)
        chosen = ParameterLayout.of(model, natural.names[5::-2])
        by_name = natural.split(gradients(kind, model, batch))
        found = chosen.split(gradients(kind, model, batch, layout=chosen))
        assert list(found) == list(natural.names[5::-2])
        for name, values in found.items():
            torch.testing.assert_close(values, by_name[name], rtol=1e-5, atol=1e-8)

    @pytest.mark.parametrize("kind", BACKENDS)
    def test_a_bfloat16_model_gives_float32_gradients_near_the_exact_ones(self, kind: str) -> None:
        batch = everything(make_rows())
        coarse = gradients(kind, make_model("llama with LoRA", torch.bfloat16), batch)
        exact = gradients("loop", make_model("llama with LoRA"), batch)
        assert coarse.dtype == torch.float32
        assert float(torch.cosine_similarity(coarse, exact).min()) > 0.99

    @pytest.mark.parametrize("kind", BACKENDS)
    def test_a_row_without_labels_has_no_gradient_and_spoils_no_other(self, kind: str) -> None:
        rows = make_rows()
        rows.labels[1][:] = -100
        model = make_model("llama with LoRA")
        found = gradients(kind, model, everything(rows))
        assert rows.unlabelled().tolist() == [1]
        assert example_losses(model, everything(rows)).isnan().tolist() == [0, 1, 0, 0]
        assert not found[1].any()
        others = rows.batch([0, 2, 3], PAD, "cpu")
        assert_rows_close(found[[0, 2, 3]], gradients("loop", model, others))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_hooks_verify_themselves_on_a_whole_model(self, dtype: torch.dtype) -> None:
        model, batch = make_model("llama, tied head", dtype), everything(make_rows())
        verified = gradients("hooks", model, batch, verify=True)
        assert torch.equal(verified, gradients("hooks", model, batch))


class Branches(nn.Module):
    """One branch is never taken, so its layer has no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.used = nn.Linear(3, 3)
        self.unused = nn.Linear(3, 2)

    def forward(self, ids: Tensor) -> Tensor:
        return self.used(ids)


def linear_losses(model: nn.Module, batch: Batch) -> Tensor:
    return model(batch["x"]).square().flatten(1).sum(1)


def inputs(rows: int = 4) -> dict[str, Tensor]:
    return {"x": torch.randn(rows, 3, generator=torch.Generator().manual_seed(1))}


@pytest.mark.parametrize("kind", BACKENDS)
class TestEveryBackend:
    def test_keeps_zeros_in_place_of_a_parameter_that_the_loss_does_not_reach(
        self, kind: str
    ) -> None:
        model = Branches().eval()
        layout = ParameterLayout.of(model, ["unused.weight", "used.weight", "unused.bias"])
        found = layout.split(gradients(kind, model, inputs(), linear_losses, layout=layout))
        assert found["unused.weight"].shape == (4, 2, 3)
        assert not found["unused.weight"].any()
        assert not found["unused.bias"].any()
        assert found["used.weight"].any()

    def test_refuses_a_model_of_which_a_part_is_in_training_mode(self, kind: str) -> None:
        model = make_model("llama with LoRA")
        dropout = next(n for n, part in model.named_modules() if n.endswith("lora_dropout.default"))
        model.get_submodule(dropout).train()
        with pytest.raises(UsageError, match=f"{dropout}.*training mode"):
            gradients(kind, model, everything(make_rows()))

    def test_refuses_a_loss_over_the_whole_batch(self, kind: str) -> None:
        with pytest.raises(HarnessError, match=r"shape \[\] for"):
            gradients(kind, Branches().eval(), inputs(), lambda m, b: linear_losses(m, b).mean())

    def test_refuses_a_ragged_batch(self, kind: str) -> None:
        batch = {**inputs(), "y": torch.zeros(3)}
        with pytest.raises(UsageError, match=r"'x': 4, 'y': 3"):
            gradients(kind, Branches().eval(), batch, linear_losses)

    def test_refuses_parameters_that_were_frozen_since(self, kind: str) -> None:
        model = Branches().eval()
        layout = ParameterLayout.of(model)
        model.used.requires_grad_(False)
        with pytest.raises(UsageError, match=r"'used\.weight' is frozen"):
            gradients(kind, model, inputs(), linear_losses, layout=layout)


@pytest.mark.parametrize("kind", BACKENDS)
def test_losses_without_a_graph_are_refused(kind: str) -> None:
    with pytest.raises(HarnessError, match="do not depend"):
        gradients(kind, Branches().eval(), inputs(), lambda m, b: linear_losses(m, b).detach())
