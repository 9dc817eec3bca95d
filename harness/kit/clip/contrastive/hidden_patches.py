"""Masking of image patches, for CLIP-KD's masked feature distillation."""

from __future__ import annotations

import torch
from torch import Tensor


def hide_patches(images: Tensor, patch: int, share: float, generator: torch.Generator) -> Tensor:
    """[b, c, h, w] with `share` of each image's patches set to 0, the mean of normalised pixels.

    As many of the whole patches of every image, drawn without replacement on the CPU; pixels
    beyond the last whole patch stay. Yang et al. 2024 (arXiv 2307.12732) hide 0.75.
    """
    rows, _, height, width = images.shape
    grid = (height // patch, width // patch)
    places = grid[0] * grid[1]
    order = torch.rand(rows, places, generator=generator).argsort(1)
    kept = (order >= round(share * places)).view(rows, 1, *grid).to(images)
    kept = kept.repeat_interleave(patch, 2).repeat_interleave(patch, 3)
    shown = torch.ones_like(images[:, :1])
    shown[:, :, : grid[0] * patch, : grid[1] * patch] = kept
    return images * shown
