"""The masks' distribution: the published constants, and samples against its formula."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit

from harness.kit.clip.shape import ClipShape, LayerShape, TowerShape
from harness_tinyclip.masks.hard_concrete import (
    FIRST_LOGIT,
    LOGIT_BOUNDS,
    evaluation_mask,
    probability_kept,
    sample,
)
from harness_tinyclip.masks.masks import MaskLogits

UPPER = math.log(100)
ONE_LAYER = TowerShape(6, (LayerShape(2, 3, 5),))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_bounds_keep_a_unit_with_the_published_probabilities() -> None:
    low, high = probability_kept(torch.tensor(LOGIT_BOUNDS, dtype=torch.float64))
    assert low.item() == pytest.approx(0.047, abs=5e-4)
    assert high.item() == pytest.approx(0.998, abs=5e-4)


def test_a_unit_that_is_fully_on_is_not_quite_one() -> None:
    mask = evaluation_mask(torch.full((8,), UPPER))
    assert mask.tolist() == pytest.approx([0.996] * 8, abs=5e-4)


def test_logits_start_at_ten_and_are_clamped_after_a_step() -> None:
    logits = MaskLogits(ClipShape(ONE_LAYER, ONE_LAYER, 4))
    assert all(bool((values == FIRST_LOGIT).all()) for values in logits.parameters())
    with torch.no_grad():
        logits.text.hidden.fill_(-50)
    logits.clamp()
    assert logits.image.hidden.tolist() == pytest.approx([UPPER] * 6)
    assert logits.text.hidden.tolist() == pytest.approx([-UPPER] * 6)


@pytest.mark.parametrize("value", [-3.0, -0.5, 0.0, 2.0])
def test_samples_follow_the_formula(value: float) -> None:
    """Shares of 0 and 1 and the median of 200,000 draws, against the distribution function.

    z <= x means sigmoid((logit(r) + a) / T) <= (x + 0.1) / 1.2, so P = sigmoid(T logit(...) - a).
    """
    draws = sample(torch.full((200_000,), value, dtype=torch.float64), generator()).numpy()
    zero, below_one = (expit(2 / 3 * logit((x + 0.1) / 1.2) - value) for x in (0.0, 1.0))
    middle = expit(2 / 3 * logit(0.6 / 1.2) - value)
    assert np.mean(draws == 0) == pytest.approx(zero, abs=4e-3)
    assert np.mean(draws < 1) == pytest.approx(below_one, abs=4e-3)
    assert np.mean(draws <= 0.5) == pytest.approx(middle, abs=4e-3)
    assert probability_kept(torch.tensor(value)).item() == pytest.approx(1 - zero, abs=1e-6)


def test_samples_can_be_trained() -> None:
    logits = torch.zeros(1000, dtype=torch.float64, requires_grad=True)
    mask = sample(logits, generator())
    mask.sum().backward()
    inside = (mask > 0) & (mask < 1)
    assert logits.grad is not None
    assert bool((logits.grad[inside] > 0).all())
    assert bool((logits.grad[~inside] == 0).all())


@given(st.lists(st.floats(*LOGIT_BOUNDS), min_size=1, max_size=40))
def test_in_evaluation_the_lowest_are_zero_and_as_many_as_expected(values: list[float]) -> None:
    logits = torch.tensor(values, dtype=torch.float64)
    mask = evaluation_mask(logits).numpy()
    kept = sum(expit(value - 2 / 3 * math.log(0.1 / 1.1)) for value in values)
    assert (mask == 0).sum() == round(len(values) - kept)
    gone, left = np.array(values)[mask == 0], np.array(values)[mask != 0]
    assert not len(gone) or not len(left) or gone.max() <= left.min()
    np.testing.assert_allclose(mask[mask != 0], expit(0.8 * left / (2 / 3)), atol=1e-12)


def test_a_shift_removes_more_and_never_the_last_that_must_stay() -> None:
    logits = torch.linspace(-1, 3, 9)
    zeros = [int((evaluation_mask(logits, shift) == 0).sum()) for shift in (0, -2, -60)]
    assert zeros == sorted(zeros)
    assert zeros[0] < zeros[1] < zeros[2] == 9
    only = evaluation_mask(logits, -60, least=1)
    assert only.nonzero().flatten().tolist() == [8]
