"""Sizes under masks: counted by hand, expected by going through all masks, and as folded."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest
import torch

from clip_models import tiny_clip
from harness.kit.clip.model import ClipModel
from harness.kit.clip.shape import ClipShape, LayerShape, TowerShape, shape_of
from harness_tinyclip.masks.folding import fold, masks_of_size
from harness_tinyclip.masks.masks import ClipMasks, MaskLogits, Shift, TowerMasks, indicators
from harness_tinyclip.masks.sizes import ClipSize, TowerSize


def random_logits(shape: ClipShape, seed: int = 0, spread: float = 2.0) -> MaskLogits:
    logits, generator = MaskLogits(shape), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for values in logits.parameters():
            values.copy_(spread * torch.randn(values.shape, generator=generator))
    logits.clamp()
    return logits


def parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def model() -> ClipModel:
    return tiny_clip(width=16, layers=2, embed_dim=8)


def test_a_model_counted_by_hand() -> None:
    """Width 16, 2 heads of 8, feed-forward 64, 2 layers; 8 x 8 images in 4 patches of 48 numbers;
    23 words, 10 positions; meeting in 8 numbers."""
    attention = 4 * 16 * 16 + 4 * 16
    feed_forward = 2 * 16 * 64 + 64 + 16
    prunable = 2 * 2 * (attention + feed_forward)
    layer_norms = 2 * 2 * (2 * 2 * 16)
    image = 16 * 48 + 16 + 5 * 16 + 2 * 16 + 2 * 16 + 16 * 8
    text = 23 * 16 + 10 * 16 + 2 * 16 + 16 * 8
    size = ClipSize.of(model().model)
    assert size.total("prunable") == prunable == 12_864
    assert size.total("all") == prunable + layer_norms + image + text + 1
    assert size.total("all") == parameters(model().model)


def test_a_quarter_of_the_prunable_weights_is_more_of_all() -> None:
    """Embeddings, norms and projections are not in "25 %" (of the published names)."""
    size = ClipSize.of(model().model)
    half = tuple(torch.tensor([1.0, 0.0]) for _ in range(2))
    keep_mlp = tuple((torch.arange(64) < 16).float() for _ in range(2))
    tower = TowerMasks(torch.ones(16), half, keep_mlp, torch.tensor([1.0, 0.0]), torch.ones(2))
    masks = ClipMasks(tower, tower)
    attention = 4 * 8 * 16 + 3 * 8 + 16
    feed_forward = 2 * 16 * 16 + 16 + 16
    kept = 2 * (attention + 2 * feed_forward)
    assert int(size.kept(masks, "prunable")) == kept == 3_280
    assert kept / 12_864 == pytest.approx(0.255, abs=1e-3)
    outside = size.total("all") - size.total("prunable") - 2 * 2 * 16
    assert int(size.kept(masks, "all")) == kept + outside == 5_217
    assert 5_217 / size.total("all") == pytest.approx(0.351, abs=1e-3)


def test_the_expected_size_is_the_mean_over_all_masks() -> None:
    """Every combination of a tower with 2 numbers, 2 heads and 2 inner numbers, one by one."""
    shape = TowerShape(2, (LayerShape(2, 3, 2), LayerShape(0, 0, 1)))
    size = TowerSize(shape, per_hidden=5, fixed=7)
    chances = torch.tensor([0.9, 0.4, 0.3, 0.8, 0.6, 0.2, 0.7, 0.5, 0.1], dtype=torch.float64)

    def masks(values: torch.Tensor) -> TowerMasks:
        return TowerMasks(
            hidden=values[:2],
            heads=(values[2:4], values[:0]),
            mlp=(values[4:6], values[6:7]),
            attention=torch.stack([values[7], values.new_zeros(())]),
            feed_forward=values[[8, 2]],
        )

    def counted(hidden: float, heads: float, mlp: float, on: tuple[float, float]) -> float:
        parts = 0.0
        if heads and on[0]:
            parts += heads * 3 * (4 * hidden + 3) + hidden + 2 * hidden
        if mlp and on[1]:
            parts += mlp * (2 * hidden + 1) + hidden + 2 * hidden
        return parts

    def draws() -> Iterator[tuple[float, tuple[int, ...]]]:
        for bits in product((0, 1), repeat=10):
            p = 1.0
            for bit, chance in zip(bits, [*chances.tolist(), float(chances[2])], strict=True):
                p *= chance if bit else 1 - chance
            yield p, bits

    expected = sum(
        p * (5 * (b[0] + b[1]) + 7
             + counted(b[0] + b[1], b[2] + b[3], b[4] + b[5], (b[7], b[8]))
             + counted(b[0] + b[1], 0, b[6], (0, b[9])))
        for p, b in draws()
    )  # fmt: skip
    assert float(size.kept(masks(chances), "all")) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_masks_leave_as_many_parameters_as_the_folded_model_has(seed: int) -> None:
    clip = model()
    masks = random_logits(shape_of(clip.model), seed).evaluated()
    folded = fold(clip.model, clip.config, masks)
    assert int(ClipSize.of(clip.model).kept(indicators(masks))) == parameters(folded.model)


@pytest.mark.parametrize("target", [2_000, 8_000])
def test_a_size_asked_for_is_met_as_nearly_as_one_number_allows(target: int) -> None:
    clip = tiny_clip(width=16, layers=2, embed_dim=8)
    logits = random_logits(shape_of(clip.model), spread=1.0)
    size = ClipSize.of(clip.model)
    folded = fold(clip.model, clip.config, masks_of_size(logits, size, target))
    assert parameters(folded.model) == pytest.approx(target, rel=0.1)
    shifts = torch.linspace(-12, 12, 49).tolist()
    others = [int(size.kept(indicators(logits.evaluated(Shift(shift))))) for shift in shifts]
    nearest = min(abs(count - target) for count in others)
    assert abs(parameters(folded.model) - target) <= nearest


def test_logits_that_were_never_trained_still_give_the_size() -> None:
    clip = tiny_clip(width=32, layers=2)
    size = ClipSize.of(clip.model)
    logits = MaskLogits(shape_of(clip.model))
    logits.clamp()
    half = size.total() // 2
    left = int(size.kept(indicators(masks_of_size(logits, size, half))))
    assert left == pytest.approx(half, rel=0.05)
