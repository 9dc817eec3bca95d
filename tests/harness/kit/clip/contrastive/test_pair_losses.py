"""CLIP's and SigLIP's losses against open_clip, and what they do with odd batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from embedded_pairs import Loss, gradients_are_right, pairs
from open_clip.loss import ClipLoss, SigLipLoss
from torch import Tensor

from harness.kit.clip.contrastive.pair_losses import (
    clip_loss,
    contrastive_loss,
    siglip_loss,
    soft_cross_entropy_both_ways,
)


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_the_clip_loss_is_that_of_open_clip(rows: int) -> None:
    given = pairs(rows)
    expected = ClipLoss()(given.image, given.text, given.scale)
    torch.testing.assert_close(clip_loss(given), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_the_siglip_loss_is_that_of_open_clip(rows: int) -> None:
    given = replace(pairs(rows), bias=torch.tensor(-3.0, dtype=torch.float64))
    expected = SigLipLoss()(given.image, given.text, given.scale, given.bias)
    torch.testing.assert_close(siglip_loss(given), expected, rtol=1e-12, atol=1e-12)


def test_a_bias_makes_the_contrastive_loss_that_of_siglip() -> None:
    biased = replace(pairs(), bias=torch.tensor(-3.0, dtype=torch.float64))
    assert torch.equal(contrastive_loss(pairs()), clip_loss(pairs()))
    assert torch.equal(contrastive_loss(biased), siglip_loss(biased))


@pytest.mark.parametrize("loss", [clip_loss, siglip_loss])
def test_equal_weights_are_no_weights_and_weights_are_shares_of_rows(
    loss: Callable[..., Tensor],
) -> None:
    given = pairs(6)
    plain = loss(given)
    torch.testing.assert_close(loss(given, torch.full((6,), 2.5)), plain)
    alone = torch.stack([loss(given, own) for own in torch.eye(6)])
    torch.testing.assert_close(alone.mean(), plain)
    weights = torch.tensor([1.0, 0, 0, 3.0, 0, 0])
    torch.testing.assert_close(loss(given, weights), (alone[0] + 3 * alone[3]) / 4)


@pytest.mark.parametrize("loss", [clip_loss, siglip_loss])
def test_gradients_are_right_in_images_texts_and_scale(loss: Loss) -> None:
    assert gradients_are_right(loss, pairs())


def test_no_loss_changes_its_inputs() -> None:
    given = replace(pairs(), bias=torch.tensor(-3.0, dtype=torch.float64))
    before = [tensor.clone() for tensor in (given.image, given.text, given.scale, given.bias)]
    logits = given.logits
    clip_loss(given)
    siglip_loss(given)
    for now, then in zip((given.image, given.text, given.scale, given.bias), before, strict=True):
        assert torch.equal(now, then)
    assert torch.equal(given.logits, logits)


def test_a_last_smaller_batch_has_labels_of_its_own_size() -> None:
    large, small = pairs(8), pairs(3, seed=1)
    clip_loss(large)
    expected = ClipLoss()(small.image, small.text, small.scale)
    torch.testing.assert_close(clip_loss(small), expected)


def test_hard_targets_make_the_soft_loss_the_clip_loss() -> None:
    given = pairs()
    hard = torch.eye(5, dtype=torch.float64)
    both = soft_cross_entropy_both_ways(hard, hard, given.logits)
    torch.testing.assert_close(both, clip_loss(given), rtol=1e-12, atol=1e-12)
