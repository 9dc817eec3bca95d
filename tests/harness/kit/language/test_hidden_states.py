"""Pooled hidden states against the model run on one row at a time, without padding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from causal_models import FAMILIES, make_lm
from harness.kit.language.causal_lm import CausalLM
from harness.kit.language.hidden_states import PooledStates, pool_states
from harness.kit.training.batching import EncodedRows

EVERY = pytest.mark.parametrize("family", list(FAMILIES))
LENGTHS = [7, 1, 40, 3, 40, 12, 2]


def random_rows(lengths: list[int], vocabulary: int = 300) -> EncodedRows:
    generator = np.random.default_rng(0)
    return EncodedRows(tuple(generator.integers(0, vocabulary, n, dtype=np.int32) for n in lengths))


def plain(lm: CausalLM, ids: np.ndarray) -> np.ndarray:
    """[3, d] last, mean and weighted mean of one row's states, by loops in double precision."""
    with torch.no_grad():
        made = lm.model(torch.tensor([ids.tolist()]), output_hidden_states=True)
    states = made.hidden_states[-1][0].double().numpy()
    mean = sum(states[i] for i in range(len(ids))) / len(ids)
    weights = range(1, len(ids) + 1)
    weighted = sum(w * states[w - 1] for w in weights) / sum(weights)
    return np.stack([states[-1], mean, weighted])


@EVERY
def test_states_are_those_of_each_row_alone(family: str) -> None:
    lm, rows = make_lm(family), random_rows(LENGTHS)
    found = pool_states(lm, rows)
    expected = np.stack([plain(lm, ids) for ids in rows.ids], axis=1)
    for name, values in zip(("last", "mean", "weighted"), expected, strict=True):
        pooled = getattr(found, name)
        assert pooled.dtype == np.float32
        np.testing.assert_allclose(pooled, values, rtol=1e-4, atol=1e-5)


@settings(max_examples=20)
@given(lengths=st.lists(st.integers(1, 60), min_size=1, max_size=6))
def test_neighbours_and_their_order_change_nothing(lengths: list[int]) -> None:
    lm, rows = make_lm(), random_rows(lengths)
    whole = pool_states(lm, rows)
    turned = pool_states(lm, rows.take(range(len(lengths) - 1, -1, -1)))
    for name in ("last", "mean", "weighted"):
        np.testing.assert_allclose(
            getattr(whole, name), getattr(turned, name)[::-1], rtol=1e-4, atol=1e-5
        )


def test_a_row_of_one_token_is_that_token() -> None:
    found = pool_states(make_lm(), random_rows([1]))
    np.testing.assert_array_equal(found.last, found.mean)
    np.testing.assert_array_equal(found.last, found.weighted)


def test_states_of_half_precision_are_pooled_in_single() -> None:
    rows = random_rows(LENGTHS)
    exact = pool_states(make_lm(), rows)
    found = pool_states(make_lm(dtype=torch.bfloat16), rows)
    assert isinstance(found, PooledStates)
    assert found.weighted.dtype == np.float32
    difference = np.linalg.norm(found.weighted - exact.weighted, axis=1)
    assert (difference < 0.1 * np.linalg.norm(exact.weighted, axis=1)).all()


def test_what_overflows_in_one_row_stays_there() -> None:
    lm = make_lm()
    with torch.no_grad():
        lm.model.get_input_embeddings().weight[17] = torch.nan
    ids = (np.array([3, 4, 5], dtype=np.int32), np.array([3, 17], dtype=np.int32))
    found = pool_states(lm, EncodedRows(ids))
    assert np.isfinite(found.weighted[0]).all()
    assert np.isnan(found.weighted[1]).all()
    assert lm.pad_id != 17
