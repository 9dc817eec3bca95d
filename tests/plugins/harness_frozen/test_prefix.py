"""Rows behind a prefix that is read once: the same logits as prefix and row read together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from causal_models import byte_tokenizer, gpt2, llama, make_lm, mistral, wrapped
from harness.kit.language.causal_lm import CausalLM
from harness_frozen.prefix import ReadingMode, SharedPrefix, split_rows, way_to_read

PREFIX = np.array([5, 9, 7, 7, 20, 31, 4, 12, 90])
ROWS = [np.array(row) for row in ([3, 8, 2], [40], [9, 9, 9, 9, 7, 1, 3], [8, 3, 2])]
WAYS: tuple[ReadingMode, ...] = ("packed", "expanded", "whole")
CPU = torch.device("cpu")


def one_at_a_time(lm: CausalLM, prefix: np.ndarray, rows: Sequence[np.ndarray]) -> np.ndarray:
    """The obvious way: everything read for every row, and logits of every token computed."""
    with torch.no_grad():
        logits = [
            lm.model(torch.from_numpy(np.concatenate([prefix, row]))[None], use_cache=False).logits
            for row in rows
        ]
    return np.stack([one[0, -1].numpy() for one in logits])


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "qwen", "gpt_neox"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("length", [9, 1, 0], ids=["prefix", "one-token", "no-prefix"])
def test_all_ways_agree_with_the_obvious_one(family: str, way: ReadingMode, length: int) -> None:
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
        lm = make_lm(family, dtype=dtype)
        prefix = PREFIX[:length]
        with torch.inference_mode():
            shared = SharedPrefix(lm, prefix, way)
            found = shared.logits(ROWS).numpy()
            again = shared.logits(ROWS[::-1]).numpy()[::-1]
        expected = one_at_a_time(lm, prefix, ROWS)
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * 3)
        np.testing.assert_allclose(again, expected, rtol=tolerance, atol=tolerance * 3)


def test_attention_within_a_window_is_read_by_repeating_the_prefix() -> None:
    tokenizer = byte_tokenizer()
    lm = wrapped(mistral(len(tokenizer), sliding_window=4).double(), tokenizer)
    assert way_to_read(lm) == "expanded"
    with torch.inference_mode():
        found = SharedPrefix(lm, PREFIX, "expanded").logits(ROWS).numpy()
    np.testing.assert_allclose(found, one_at_a_time(lm, PREFIX, ROWS), rtol=1e-12)


def test_the_prefix_is_read_once_and_only_last_tokens_reach_the_vocabulary(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lm = make_lm("llama")
    read: list[tuple[int, ...]] = []
    head: list[int] = []
    lm.model.get_input_embeddings().register_forward_hook(
        lambda _, inputs, output: read.append(tuple(inputs[0].shape))
    )
    lm.model.get_output_embeddings().register_forward_hook(
        lambda _, inputs, output: head.append(output.shape[:-1].numel())
    )
    with torch.inference_mode():
        shared = SharedPrefix(lm, PREFIX, "packed")
        shared.logits(ROWS)
        shared.logits(ROWS[:1])
    assert read == [(1, 9), (1, 14), (1, 3)]
    assert head == [4, 1]


def test_families_that_take_a_mask_are_packed() -> None:
    tokenizer = byte_tokenizer()
    for model in (llama(len(tokenizer)), gpt2(len(tokenizer))):
        assert way_to_read(wrapped(model, tokenizer)) == "packed"
    windowed = wrapped(mistral(len(tokenizer)), tokenizer)
    assert way_to_read(windowed) == "expanded"


@pytest.mark.parametrize("way", WAYS)
def test_every_row_is_in_one_group(way: ReadingMode) -> None:
    lengths = np.random.default_rng(0).integers(1, 900, 300)
    groups = split_rows(lengths, 500, way, CPU)
    assert sorted(np.concatenate(groups)) == list(range(300))
    if way == "packed":
        assert all(lengths[group].sum() <= 512 or len(group) == 1 for group in groups)
    if way == "expanded":
        assert all(len(g) * (500 + lengths[g].max()) <= 8192 for g in groups)
