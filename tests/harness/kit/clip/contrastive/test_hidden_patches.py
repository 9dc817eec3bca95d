"""Patches are hidden whole, as many in every image."""

from __future__ import annotations

import pytest
import torch

from harness.kit.clip.contrastive.hidden_patches import hide_patches


@pytest.mark.parametrize(("size", "patch", "whole"), [(16, 4, 16), (18, 4, 16)])
def test_a_share_of_the_whole_patches_is_zero_and_the_rest_as_it_was(
    size: int, patch: int, whole: int
) -> None:
    images = torch.rand(5, 3, size, size) + 1
    before = images.clone()
    shown = hide_patches(images, patch, 0.75, torch.Generator().manual_seed(0))
    assert torch.equal(images, before)
    for image, own in zip(images, shown, strict=True):
        hidden = 0
        for top in range(0, whole, patch):
            for left in range(0, whole, patch):
                part = own[:, top : top + patch, left : left + patch]
                if (part == 0).all():
                    hidden += 1
                else:
                    assert torch.equal(part, image[:, top : top + patch, left : left + patch])
        assert hidden == 12
        assert torch.equal(own[:, whole:], image[:, whole:])
        assert torch.equal(own[:, :, whole:], image[:, :, whole:])


def test_every_image_hides_patches_of_its_own() -> None:
    shown = hide_patches(torch.ones(2, 3, 16, 16), 4, 0.5, torch.Generator().manual_seed(0))
    assert not torch.equal(shown[0], shown[1])
