"""Hidden words: how many, never the special ones, and open_clip still pools at the end token."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from open_clip.transformer import text_global_pool

from harness.errors import UsageError
from harness.kit.clip.contrastive.masked_words import HiddenWords, MaskingRule, hide_words, is_word
from harness.kit.language.labelled_rows import IGNORED

PAD, MASK, START, END = 0, 2, 3, 99
RULE = MaskingRule(mask_id=MASK, vocabulary=tuple(range(4, 99)), special=(PAD, START, END))


def captions(rows: int, length: int = 20, seed: int = 0) -> torch.Tensor:
    """Start, words of different numbers, end, pads."""
    generator = np.random.default_rng(seed)
    tokens = np.full((rows, length), PAD)
    for row in tokens:
        words = generator.integers(1, length - 2, endpoint=True)
        row[: words + 2] = [START, *generator.integers(4, 99, size=words), END]
    return torch.from_numpy(tokens)


def draw(tokens: torch.Tensor, rule: MaskingRule = RULE, seed: int = 0) -> HiddenWords:
    return hide_words(tokens, rule, torch.Generator().manual_seed(seed))


def test_shares_are_those_of_bert() -> None:
    tokens = captions(4000)
    hidden = draw(tokens)
    words = int(is_word(tokens, RULE.special).sum())
    predicted = hidden.targets != IGNORED
    count = int(predicted.sum())
    spread = 5 / math.sqrt(count)
    assert count / words == pytest.approx(0.15, abs=5 * 0.36 / math.sqrt(words))
    masked = hidden.tokens[predicted] == MASK
    same = hidden.tokens[predicted] == tokens[predicted]
    assert float(masked.float().mean()) == pytest.approx(0.8, abs=spread * 0.4)
    assert float(same.float().mean()) == pytest.approx(0.1 + 0.1 / 95, abs=spread * 0.3)
    assert torch.equal(hidden.masked, predicted & (hidden.tokens == MASK))


@given(seed=st.integers(0, 50), rate=st.floats(0.01, 1))
def test_only_words_are_hidden_and_all_else_is_as_it_was(seed: int, rate: float) -> None:
    tokens = captions(8, seed=seed)
    before = tokens.clone()
    rule = MaskingRule(MASK, RULE.vocabulary, RULE.special, rate=rate)
    hidden = draw(tokens, rule, seed)
    predicted = hidden.targets != IGNORED
    assert torch.equal(tokens, before)
    assert torch.equal(hidden.tokens[~predicted], tokens[~predicted])
    assert torch.equal(hidden.targets[predicted], tokens[predicted])
    assert not torch.isin(tokens[predicted], torch.tensor(RULE.special)).any()
    assert not torch.isin(hidden.tokens[predicted], torch.tensor(RULE.special)).any()


def test_open_clip_pools_where_it_did_with_every_word_masked() -> None:
    tokens = captions(30)
    rule = MaskingRule(MASK, RULE.vocabulary, RULE.special, rate=1.0, masked=0.5, replaced=0.5)
    hidden = draw(tokens, rule)
    places = torch.arange(tokens.shape[1], dtype=torch.float32).expand(30, -1)[..., None]
    end = (tokens == END).int().argmax(1)
    assert torch.equal(text_global_pool(places, hidden.tokens, "argmax")[:, 0], end.float())


@pytest.mark.parametrize("wrong", [{"mask_id": 100}, {"vocabulary": (5, 120)}, {"mask_id": END}])
def test_a_mask_that_would_be_pooled_is_refused(wrong: dict) -> None:
    with pytest.raises(UsageError, match="end token"):
        MaskingRule(**{"mask_id": MASK, "vocabulary": (5,), "special": (PAD, END), **wrong})


@pytest.mark.parametrize(
    "wrong", [{"rate": 0.0}, {"rate": 1.5}, {"masked": 0.8, "replaced": 0.3}, {"masked": -0.1}]
)
def test_shares_out_of_range_are_refused(wrong: dict) -> None:
    with pytest.raises(UsageError, match="mask"):
        MaskingRule(mask_id=MASK, vocabulary=(5,), special=(PAD, END), **wrong)


def test_the_same_generator_hides_the_same_words() -> None:
    tokens = captions(8)
    assert torch.equal(draw(tokens, seed=3).tokens, draw(tokens, seed=3).tokens)
    assert not torch.equal(draw(tokens, seed=3).tokens, draw(tokens, seed=4).tokens)
