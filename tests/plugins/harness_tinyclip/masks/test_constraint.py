"""The size constraint: a one-sided penalty whose weights only grow, and masks that give way."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch.optim import AdamW

from clip_models import tiny_clip
from harness.kit.clip.shape import shape_of
from harness_tinyclip.kinds import MASK_KINDS, MaskKind
from harness_tinyclip.masks.constraint import SizeConstraint, mask_optimizer
from harness_tinyclip.masks.masks import MaskLogits
from harness_tinyclip.masks.sizes import ClipSize


@pytest.fixture(scope="module")
def size() -> ClipSize:
    return ClipSize.of(tiny_clip().model)


def fresh(size: ClipSize, kinds: tuple[MaskKind, ...] = MASK_KINDS) -> MaskLogits:
    logits = MaskLogits(shape_of(tiny_clip().model), kinds)
    logits.clamp()
    return logits


def test_the_penalty_is_the_published_one(size: ClipSize) -> None:
    constraint = SizeConstraint(size, target=0.5)
    found = constraint.penalty(torch.tensor(0.2, dtype=torch.float64), 0.5)
    assert found.item() == pytest.approx(10 * 0.3 + 10 * 0.3**2)


def test_nothing_is_paid_for_being_smaller_than_asked_for(size: ClipSize) -> None:
    constraint = SizeConstraint(size, target=0.5)
    sparsity = torch.tensor(0.6, dtype=torch.float64, requires_grad=True)
    constraint.penalty(sparsity, 0.5).backward()
    assert sparsity.grad is not None
    assert sparsity.grad.item() == 0
    assert constraint.linear.grad is not None
    assert constraint.linear.grad.item() == 0


def test_the_target_rises_linearly_over_the_warm_up(size: ClipSize) -> None:
    constraint = SizeConstraint(size, target=0.8)
    assert [constraint.target(step, 4) for step in range(6)] == pytest.approx(
        [0.2, 0.4, 0.6, 0.8, 0.8, 0.8]
    )
    assert constraint.target(0, 0) == 0.8


def test_a_negative_rate_is_refused_as_default_but_taken_by_a_group() -> None:
    parameter = torch.nn.Parameter(torch.zeros(()))
    with pytest.raises(ValueError, match="learning rate"):
        AdamW([parameter], lr=-0.02)
    optimizer = AdamW([{"params": [parameter], "lr": -0.02}], lr=0.02, weight_decay=0.0)
    parameter.backward()
    optimizer.step()
    assert parameter.item() == pytest.approx(0.02, rel=1e-4)


def test_weights_never_fall_and_the_expected_size_reaches_its_target(size: ClipSize) -> None:
    """Forty steps of nothing but the penalty, then forty below the target."""
    logits, constraint = fresh(size), SizeConstraint(size, target=0.5)
    optimizer = mask_optimizer(logits, constraint, rate=0.3)
    start = float(constraint.sparsity(logits).detach())
    history = [(constraint.linear.item(), constraint.quadratic.item())]
    for step in range(80):
        sparsity = constraint.sparsity(logits)
        constraint.penalty(sparsity, constraint.target(step, 10)).backward()
        optimizer.step()
        optimizer.zero_grad()
        logits.clamp()
        history.append((constraint.linear.item(), constraint.quadratic.item()))
    assert start < 0.05
    assert float(constraint.sparsity(logits).detach()) >= 0.5
    for before, after in pairwise(history):
        assert after[0] >= before[0]
        assert after[1] >= before[1]
    assert history[1][0] == pytest.approx(10.3, rel=1e-3)


def test_both_towers_share_one_target(size: ClipSize) -> None:
    """With the text tower's masks off, the image tower alone gives what both are asked for."""
    logits, constraint = fresh(size), SizeConstraint(size, target=0.4, counted="prunable")
    with torch.no_grad():
        logits.image.attention.fill_(-4.6)
        logits.image.feed_forward.fill_(-4.6)
    expected = 0.5 * (1 - 0.047) + 0.5 * (1 - 0.998**3)
    assert float(constraint.sparsity(logits).detach()) == pytest.approx(expected, abs=0.01)
    assert constraint.penalty(constraint.sparsity(logits), 0.4).item() == 0


def test_kinds_that_are_off_are_not_trained_and_keep_everything(size: ClipSize) -> None:
    logits = fresh(size, ("hidden",))
    trained = [name for name, values in logits.named_parameters() if values.requires_grad]
    assert trained == ["image.hidden", "text.hidden"]
    with torch.no_grad():
        for values in logits.parameters():
            values.fill_(-4.6)
    masks = logits.evaluated()
    for tower in (masks.image, masks.text):
        assert (tower.hidden != 0).sum() == 1
        assert all(bool((values == 1).all()) for values in (*tower.heads, *tower.mlp))
        assert bool((tower.attention == 1).all())
