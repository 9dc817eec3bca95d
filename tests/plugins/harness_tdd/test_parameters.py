"""Which parameters are trained where none are named."""

from __future__ import annotations

from torch import nn

from harness_tdd.parameters import top_third


class Encoder(nn.Module):
    def __init__(self, layers: int) -> None:
        super().__init__()
        self.embeddings = nn.Embedding(3, 2)
        self.layer = nn.ModuleList(nn.Linear(2, 2, bias=False) for _ in range(layers))
        self.norm = nn.LayerNorm(2)


class Classifier(nn.Module):
    def __init__(self, layers: int) -> None:
        super().__init__()
        self.encoder = Encoder(layers)
        self.head = nn.Linear(2, 2)


ABOVE = ["encoder.norm.weight", "encoder.norm.bias", "head.weight", "head.bias"]


def test_the_top_third_of_the_layers_rounded_up_and_all_that_follows() -> None:
    for layers, kept in ((6, [4, 5]), (7, [4, 5, 6]), (2, [1]), (12, [8, 9, 10, 11])):
        expected = [f"encoder.layer.{number}.weight" for number in kept]
        assert top_third(Classifier(layers)).split(",") == [*expected, *ABOVE]


def test_without_numbered_layers_everything() -> None:
    assert top_third(nn.Linear(2, 2)) == "*"
