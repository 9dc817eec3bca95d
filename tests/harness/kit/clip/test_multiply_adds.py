"""Multiply-adds counted against a formula written out by hand."""

from __future__ import annotations

import pytest

from clip_models import tiny_clip
from harness.kit.clip.multiply_adds import clip_multiply_adds


def _blocks(tokens: int, width: int, layers: int) -> int:
    """Transformer layers: q, k, v and out, two products of attention, and the MLP of 4 times."""
    return layers * (4 * tokens * width**2 + 2 * tokens**2 * width + 8 * tokens * width**2)


@pytest.mark.parametrize(("width", "layers"), [(16, 2), (24, 1)])
def test_the_count_is_that_of_the_products_of_both_towers(width: int, layers: int) -> None:
    model = tiny_clip(width=width, layers=layers)
    patches, embed_dim = 4, 8
    vision = patches * width * 3 * 16 + _blocks(patches + 1, width, layers) + width * embed_dim
    text = _blocks(10, width, layers) + width * embed_dim
    assert clip_multiply_adds(model.model, (8, 8), 10) == vision + text
    assert model.info.multiply_adds == vision + text


def test_frozen_models_are_counted_the_same_and_stay_as_they_are() -> None:
    model = tiny_clip().model
    before = clip_multiply_adds(model, (8, 8), 10)
    model.requires_grad_(False).train()
    assert clip_multiply_adds(model, (8, 8), 10) == before
    assert model.training
