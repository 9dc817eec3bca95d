"""Augmentations that can be replayed: settled by seed, row and number, the same at any size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.kit.clip.image_augmentation import Augmentation, AugmentationDraws

ROWS = np.arange(2000)


def _drawn(**changes: torch.Tensor) -> AugmentationDraws:
    """For one image: nothing is done to it, but for the changes."""
    still = {
        "boxes": torch.tensor([[0.5, 0.5, 1.0, 1.0]]),
        "mirrored": torch.tensor([False]),
        **{name: torch.ones(1) for name in ("brightness", "contrast", "saturation")},
    }
    return AugmentationDraws(**{**still, **changes})


def _images(count: int = 1, size: int = 8) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, 3, size, size, generator=generator, dtype=torch.float64)


def test_a_draw_depends_on_seed_row_and_number_alone() -> None:
    augmentation = Augmentation(seed=3)
    rows, numbers = np.array([7, 1, 7, 7]), np.array([0, 0, 2, 0])
    drawn = augmentation.draw(rows, numbers)
    alone = augmentation.draw(np.array([7]), np.array([2]))
    assert torch.equal(drawn.boxes[2], alone.boxes[0])
    assert torch.equal(drawn.boxes[0], drawn.boxes[3])
    assert not torch.equal(drawn.boxes[0], drawn.boxes[2])
    assert not torch.equal(drawn.boxes[0], drawn.boxes[1])
    other = Augmentation(seed=4).draw(rows, numbers)
    assert not torch.equal(drawn.boxes, other.boxes)


@settings(max_examples=30, deadline=None)
@given(
    smallest=st.floats(0.05, 1), colour=st.floats(0, 0.9),
    row=st.integers(0, 2**31), number=st.integers(0, 2**20),
)  # fmt: skip
def test_what_is_kept_lies_inside_the_image_and_is_large_enough(
    smallest: float, colour: float, row: int, number: int
) -> None:
    drawn = Augmentation(0, smallest, True, colour).draw(np.array([row]), np.array([number]))
    x, y, width, height = drawn.boxes[0].tolist()
    assert smallest - 1e-9 <= width * height <= 1 + 1e-9
    assert width / 2 - 1e-9 <= x <= 1 - width / 2 + 1e-9
    assert height / 2 - 1e-9 <= y <= 1 - height / 2 + 1e-9
    for factor in (drawn.brightness, drawn.contrast, drawn.saturation):
        assert 1 - colour <= factor.item() <= 1 + colour


def test_half_of_the_images_are_mirrored_and_areas_are_spread_evenly() -> None:
    drawn = Augmentation(0, smallest_crop=0.5, colour=0.0).draw(ROWS, np.zeros_like(ROWS))
    assert drawn.mirrored.double().mean().item() == pytest.approx(0.5, abs=0.05)
    areas = drawn.boxes[:, 2] * drawn.boxes[:, 3]
    assert areas.mean().item() == pytest.approx(0.75, abs=0.02)
    assert torch.equal(drawn.brightness, torch.ones(2000, dtype=torch.float64))


def test_with_everything_off_an_image_is_left_as_it_is() -> None:
    off = Augmentation(0, smallest_crop=1.0, mirror=False, colour=0.0)
    images = _images(3)
    made = off.draw(np.arange(3), np.zeros(3, dtype=int)).apply(images)
    torch.testing.assert_close(made, images)


def test_mirroring_is_torchs_flip_and_a_quarter_is_torchs_resized_quarter() -> None:
    images = _images()
    mirrored = _drawn(mirrored=torch.tensor([True])).apply(images)
    torch.testing.assert_close(mirrored, images.flip(3))
    quarter = _drawn(boxes=torch.tensor([[0.25, 0.75, 0.5, 0.5]])).apply(images)
    expected = torch.nn.functional.interpolate(images[:, :, 4:, :4], size=8, mode="bilinear")
    # Beyond the quarter's edge there is more of the image, where torch repeats the last pixel.
    torch.testing.assert_close(quarter[:, :, 1:-1, 1:-1], expected[:, :, 1:-1, 1:-1])


def test_colours_change_as_in_torchvision() -> None:
    from torchvision.transforms.v2 import functional

    images = _images()
    changed = _drawn(
        brightness=torch.tensor([1.3]), contrast=torch.tensor([0.6]), saturation=torch.tensor([1.5])
    ).apply(images)
    expected = functional.adjust_brightness(images, 1.3)
    expected = functional.adjust_contrast(expected, 0.6)
    expected = functional.adjust_saturation(expected, 1.5)
    torch.testing.assert_close(changed, expected, atol=2e-3, rtol=0)


def test_models_of_two_sizes_see_the_same_part() -> None:
    ramp = torch.linspace(0, 1, 64, dtype=torch.float64).expand(1, 3, 64, 64).contiguous()
    small = torch.nn.functional.interpolate(ramp, size=16, mode="area")
    drawn = _drawn(boxes=torch.tensor([[0.4, 0.5, 0.5, 0.8]]))
    large, little = drawn.apply(ramp), drawn.apply(small)
    shrunk = torch.nn.functional.interpolate(large, size=16, mode="area")
    torch.testing.assert_close(shrunk, little, atol=0.02, rtol=0)


def test_a_count_makes_augmentations_come_in_turn() -> None:
    visits = np.array([0, 1, 2, 3, 7])
    assert Augmentation(0, count=3).numbers(visits).tolist() == [0, 1, 2, 0, 1]
    assert Augmentation(0).numbers(visits).tolist() == visits.tolist()


@pytest.mark.parametrize(
    "options", [{"smallest_crop": 0.0}, {"smallest_crop": 1.1}, {"colour": 1.0}, {"count": -1}]
)
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        Augmentation(0, **options)  # type: ignore[arg-type]
