"""Softened targets: exact without softening, label smoothing as a special case, rows of sum 1."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from embedded_pairs import cosine_rows, cross_entropy, gradients_are_right, pairs, softmax_rows
from hypothesis import given
from hypothesis import strategies as st
from open_clip.loss import ClipLoss
from torch.nn import functional

from harness.kit.clip.contrastive.softening import (
    softened_amount,
    softened_clip_loss,
    softened_targets,
)


@pytest.mark.parametrize("negatives", ["uniform", "similarity"])
def test_without_softening_it_is_the_clip_loss(negatives: Any) -> None:
    own = pairs(scale=40.0)
    expected = ClipLoss()(own.image, own.text, own.scale)
    found = softened_clip_loss(own, 0.0, negatives)
    assert abs(float(found - expected)) < 1e-12
    nearly = softened_clip_loss(own, 1e-13, negatives)
    assert abs(float(nearly - expected)) < 1e-11


@pytest.mark.parametrize("smoothing", [0.1, 0.5])
def test_uniform_softening_is_label_smoothing_of_another_strength(smoothing: float) -> None:
    own, rows = pairs(6), 6
    places = torch.arange(rows)
    expected = 0.5 * (
        functional.cross_entropy(own.logits, places, label_smoothing=smoothing)
        + functional.cross_entropy(own.logits.T, places, label_smoothing=smoothing)
    )
    amount = smoothing * (rows - 1) / rows
    found = softened_clip_loss(own, amount, "uniform")
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert abs(float(softened_clip_loss(own, smoothing, "uniform") - expected)) > 1e-3


def test_similar_negatives_get_more_by_the_definition() -> None:
    own, amount, temperature = pairs(4), 0.3, 0.2
    expected = 0.0
    for texts_first in (False, True):
        logits = cosine_rows(own, texts_first=texts_first)
        targets = []
        for place, row in enumerate(logits):
            cosines = [value / float(own.scale) for value in row]
            rest = [c / temperature for j, c in enumerate(cosines) if j != place]
            shares = softmax_rows([rest])[0]
            line = [amount * share for share in shares]
            line.insert(place, 1 - amount)
            targets.append(line)
        expected += 0.5 * cross_entropy(targets, logits)
    found = softened_clip_loss(own, amount, "similarity", temperature)
    assert float(found) == pytest.approx(expected, rel=1e-12)


def test_similarity_is_no_way_for_gradients() -> None:
    own = pairs(4)
    cosines = own.image @ own.text.T
    goals = [softened_targets(c, 0.3, "similarity") for c in (cosines, cosines.T)]
    image = own.image.clone().requires_grad_()
    logits = own.scale * image @ own.text.T
    fixed = functional.cross_entropy(logits, goals[0]) + functional.cross_entropy(
        logits.T, goals[1]
    )
    (expected,) = torch.autograd.grad(fixed / 2, image)
    moved = type(own)(image, own.text, own.scale, None)
    (found,) = torch.autograd.grad(softened_clip_loss(moved, 0.3, "similarity"), image)
    torch.testing.assert_close(found, expected)
    assert gradients_are_right(lambda f: softened_clip_loss(f, 0.3, "uniform"), own)


@given(
    rows=st.integers(1, 9),
    amount=st.floats(0, 1),
    negatives=st.sampled_from(["uniform", "similarity"]),
    seed=st.integers(0, 9),
)
def test_targets_are_distributions_that_keep_the_diagonal(
    rows: int, amount: float, negatives: Any, seed: int
) -> None:
    own = pairs(rows, seed=seed)
    targets = softened_targets(own.image @ own.text.T, amount, negatives)
    assert float(targets.min()) >= 0
    torch.testing.assert_close(targets.sum(1), torch.ones(rows, dtype=torch.float64))
    kept = 1.0 if rows == 1 else 1.0 - amount
    torch.testing.assert_close(targets.diag(), torch.full((rows,), kept, dtype=torch.float64))


@pytest.mark.parametrize("rise", ["linear", "cosine"])
def test_softening_rises_from_nothing_to_the_most_and_never_falls(rise: Any) -> None:
    amounts = [softened_amount(step, 50, 0.4, rise) for step in range(50)]
    assert amounts[0] == 0.0
    assert amounts[-1] == pytest.approx(0.4)
    assert amounts == sorted(amounts)
    assert softened_amount(25, 50, 0.4, "constant") == 0.4


def test_a_batch_of_one_has_nothing_to_soften() -> None:
    assert float(softened_clip_loss(pairs(1), 0.5)) == 0.0
