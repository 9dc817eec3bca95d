"""Replayable image augmentation, drawn by seed, row and visit: crops, flips and colours.

What is drawn are shares of an image's sides, so a teacher that takes images of another size sees
the same part of each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from harness.kit.counter_hash import random_words, stream_key
from harness.options import Natural, PositiveShare, ShareBelowOne, require_fields

_DRAWS = 8
_ROWS = 2**32
_MANTISSA = 2**53
_LARGEST_RATIO = 4 / 3
_GRAY = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class AugmentationDraws:
    """What is done to each of b images.

    boxes: [b, 4] the part that is kept: centre x, centre y, width and height, as shares;
    mirrored: [b] bool; brightness, contrast, saturation: [b] factors.
    """

    boxes: Tensor
    mirrored: Tensor
    brightness: Tensor
    contrast: Tensor
    saturation: Tensor

    def apply(self, images: Tensor) -> Tensor:
        """[b, 3, h, w] in [0, 1], of the shape it came in: cut, resized, mirrored, recoloured."""
        device = images.device
        x, y, width, height = self.boxes.to(device, images.dtype).unbind(1)
        zero = torch.zeros_like(x)
        across = torch.where(self.mirrored.to(device), -width, width)
        # Positions run from -1 to 1 over an image.
        moves = torch.stack([across, zero, 2 * x - 1, zero, height, 2 * y - 1], 1).view(-1, 2, 3)
        grid = functional.affine_grid(moves, list(images.shape), align_corners=False)
        cut = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
        return self._recoloured(cut)

    def _recoloured(self, images: Tensor) -> Tensor:
        """Brightness, then contrast, then saturation, each as in torchvision's ColorJitter."""

        def factor(values: Tensor) -> Tensor:
            return values.to(images.device, images.dtype)[:, None, None, None]

        made = (images * factor(self.brightness)).clamp(0, 1)
        mean = _gray(made).mean((1, 2, 3), keepdim=True)
        made = (mean + (made - mean) * factor(self.contrast)).clamp(0, 1)
        gray = _gray(made)
        return (gray + (made - gray) * factor(self.saturation)).clamp(0, 1)


@dataclass(frozen=True)
class Augmentation:
    """Random resized crops, mirror images and colours (Szegedy et al. 2015; Chen et al. 2020).

    seed: two augmentations of one seed draw the same; smallest_crop: least share of the area that
    is kept, 1 for all; mirror: whether half of the images are mirrored; colour: factors of
    brightness, contrast and saturation lie in [1 - colour, 1 + colour].
    count: how many augmentations each row has, in turn; 0 for another one at each visit.
    """

    seed: int
    smallest_crop: PositiveShare = 0.6
    mirror: bool = True
    colour: ShareBelowOne = 0.2
    count: Natural = 0

    def __post_init__(self) -> None:
        require_fields(self, where="augmentation")

    def numbers(self, visits: np.ndarray) -> np.ndarray:
        """[b] which augmentation a row gets when it was drawn so often before."""
        return visits % self.count if self.count else visits

    def draw(self, rows: np.ndarray, numbers: np.ndarray) -> AugmentationDraws:
        """What is done to rows, [b] places in train, in their augmentations of these numbers."""
        uniform = self._uniform(rows, numbers)
        area = self.smallest_crop + (1 - self.smallest_crop) * uniform[:, 0]
        spread = math.log(_LARGEST_RATIO) if self.smallest_crop < 1 else 0.0
        root = ((2 * uniform[:, 1] - 1) * spread / 2).exp()
        # Of a width below its area, the height would have to be above 1.
        width = torch.clamp(area.sqrt() * root, min=area, max=torch.ones_like(area))
        height = area / width
        x = width / 2 + (1 - width) * uniform[:, 2]
        y = height / 2 + (1 - height) * uniform[:, 3]
        factors = 1 + self.colour * (2 * uniform[:, 5:8] - 1)
        return AugmentationDraws(
            boxes=torch.stack([x, y, width, height], 1),
            mirrored=(uniform[:, 4] < 0.5) & self.mirror,
            brightness=factors[:, 0],
            contrast=factors[:, 1],
            saturation=factors[:, 2],
        )

    def _uniform(self, rows: np.ndarray, numbers: np.ndarray) -> Tensor:
        """[b, draws] float64 in [0, 1)."""
        places = torch.from_numpy(numbers.astype(np.int64) * _ROWS + rows.astype(np.int64))
        counters = places[:, None] * _DRAWS + torch.arange(_DRAWS)
        words = random_words(stream_key("augmentation", self.seed), counters)
        return ((words >> 11) & (_MANTISSA - 1)).double() / _MANTISSA


def _gray(images: Tensor) -> Tensor:
    weights = images.new_tensor(_GRAY)[:, None, None]
    return (images * weights).sum(1, keepdim=True)
