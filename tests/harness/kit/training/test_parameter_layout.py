"""A layout names every coordinate of a gradient vector, and takes no tensor by position."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from harness.errors import UsageError
from harness.kit.training.parameter_layout import ParameterLayout

shapes = st.lists(st.lists(st.integers(1, 4), max_size=3).map(tuple), min_size=1, max_size=6)


def model() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))


def test_it_holds_the_trainable_parameters_in_the_order_of_the_model() -> None:
    net = model()
    net[0].bias.requires_grad_(False)
    layout = ParameterLayout.of(net)
    assert layout.names == ("0.weight", "1.weight", "1.bias")
    assert layout.shapes == ((2, 3), (2,), (2,))
    assert [(s.start, s.stop) for s in layout.slots] == [(0, 6), (6, 8), (8, 10)]
    assert layout.size == 10


@given(shapes)
def test_split_undoes_flatten(sizes: list[tuple[int, ...]]) -> None:
    names = tuple(f"p{index}" for index in range(len(sizes)))
    layout = ParameterLayout(names, tuple(sizes))
    tensors = {name: torch.randn(shape) for name, shape in zip(names, sizes, strict=True)}
    flat = layout.flatten(dict(reversed(tensors.items())))
    assert flat.shape == (layout.size,)
    again = layout.split(torch.stack([flat, 2 * flat]))
    for name, tensor in tensors.items():
        assert torch.equal(again[name], torch.stack([tensor, 2 * tensor]))


def test_order_names_and_shapes_all_change_the_digest() -> None:
    net = model()
    layouts = [
        ParameterLayout.of(net),
        ParameterLayout.of(net, ["0.bias", "0.weight", "1.weight", "1.bias"]),
        ParameterLayout.of(nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))),
    ]
    assert len({layout.digest for layout in layouts}) == 3
    assert ParameterLayout.of(model()).digest == layouts[0].digest


class TestRefuses:
    def test_a_model_without_trainable_parameters(self) -> None:
        with pytest.raises(UsageError, match="no trainable") as error:
            ParameterLayout.of(model().requires_grad_(False))
        assert "is_trainable" in str(error.value)

    def test_an_unknown_name(self) -> None:
        with pytest.raises(UsageError, match=r"no parameter '0\.wait'"):
            ParameterLayout.of(model(), ["0.wait"])

    def test_a_tied_parameter_under_both_its_names(self) -> None:
        net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        net[1].weight = net[0].weight
        with pytest.raises(UsageError, match=r"'0\.weight' and '1\.weight' are one"):
            ParameterLayout.of(net, ["0.weight", "1.weight"])
        assert ParameterLayout.of(net, ["1.weight"]).size == 4

    def test_a_model_of_another_shape(self) -> None:
        layout = ParameterLayout.of(model())
        with pytest.raises(UsageError, match=r"'0.weight' has shape \[2, 5\], .* \[2, 3\]"):
            layout.parameters(nn.Sequential(nn.Linear(5, 2), nn.LayerNorm(2)))

    def test_tensors_with_other_names_or_shapes(self) -> None:
        layout = ParameterLayout.of(model())
        tensors = {
            name: torch.zeros(s) for name, s in zip(layout.names, layout.shapes, strict=True)
        }
        with pytest.raises(UsageError, match=r"missing 0\.weight; unknown weight"):
            layout.flatten({"weight" if n == "0.weight" else n: t for n, t in tensors.items()})
        with pytest.raises(UsageError, match=r"'0.weight' has shape \[3, 2\]"):
            layout.flatten({**tensors, "0.weight": torch.zeros(3, 2)})
