"""Learned vectors in the places of tokens: what a model makes of them, and that it forgets them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel, LlamaConfig, LlamaModel, PreTrainedModel

from harness.errors import UsageError
from harness.kit.trajectories.learned_embeddings import (
    learned_embeddings,
    numbered,
    vocabulary_digest,
)


def models() -> list[PreTrainedModel]:
    torch.manual_seed(0)
    size = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1, "vocab_size": 20}
    bert = BertConfig(**size, intermediate_size=32)
    llama = LlamaConfig(**size, intermediate_size=32, num_key_value_heads=2)
    return [BertModel(bert).eval(), LlamaModel(llama).eval()]


@pytest.mark.parametrize("model", models(), ids=lambda model: type(model).__name__)
def test_ids_beyond_the_vocabulary_are_read_as_the_vectors(model: PreTrainedModel) -> None:
    vectors = torch.randn(3, 16)
    ids = torch.tensor([[4, 20, 22, 7], [21, 5, 6, 20]])
    embedded = model.get_input_embeddings()(ids.clamp(max=19)).detach().clone()
    embedded[ids >= 20] = vectors[ids[ids >= 20] - 20]
    with torch.no_grad(), learned_embeddings(model, vectors):
        made = model(input_ids=ids).last_hidden_state
    with torch.no_grad():
        expected = model(inputs_embeds=embedded).last_hidden_state
    torch.testing.assert_close(made, expected)
    assert type(model.get_input_embeddings()) is torch.nn.Embedding


def test_the_vocabulary_is_trained_and_the_vectors_are_not() -> None:
    _, model = models()
    vectors = torch.randn(2, 16)
    with learned_embeddings(model, vectors):
        model(input_ids=torch.tensor([[4, 20, 21, 7]])).last_hidden_state.sum().backward()
    gradient = model.get_input_embeddings().weight.grad
    assert set(gradient.abs().sum(1).nonzero().flatten().tolist()) <= {4, 7}
    assert not vectors.requires_grad


def test_vectors_of_another_width_are_refused() -> None:
    with (
        pytest.raises(UsageError, match="width 8"),
        learned_embeddings(models()[0], torch.ones(2, 8)),
    ):
        pass


def test_marked_places_are_numbered_row_after_row() -> None:
    rows = [np.array([5, 6, 7]), np.array([8, 9])]
    marks = [np.array([False, True, True]), np.array([True, False])]
    made = numbered(rows, marks, 100)
    assert [row.tolist() for row in made] == [[5, 100, 101], [102, 9]]
    assert rows[0].tolist() == [5, 6, 7]


def test_tables_are_told_apart_by_content() -> None:
    table = torch.randn(5, 4)
    other = table.clone()
    other[3, 2] += 1e-6
    assert (vocabulary_digest(table) == vocabulary_digest(table.clone())).all()
    assert (vocabulary_digest(table) != vocabulary_digest(other)).any()
