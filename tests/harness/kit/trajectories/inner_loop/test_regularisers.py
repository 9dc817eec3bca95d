"""Penalties on learned embeddings, and their weights."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.kit.trajectories.inner_loop.regularisers import (
    RegulariserWeight,
    ScheduleName,
    neighbour_penalty,
    norm_penalty,
)


def test_the_neighbour_penalty_is_the_mean_squared_distance_and_moves_no_word() -> None:
    vectors = torch.tensor([[0.0, 0.0], [1.0, 1.0]], requires_grad=True)
    words = torch.tensor([[3.0, 4.0], [1.0, 2.0]], requires_grad=True)
    penalty = neighbour_penalty(vectors, words)
    assert float(penalty.detach()) == pytest.approx((25 + 1) / 2)
    penalty.backward()
    assert words.grad is None
    assert torch.equal(vectors.grad, torch.tensor([[-3.0, -4.0], [0.0, -1.0]]))


def test_the_norm_penalty_sees_length_alone_and_is_finite_at_zero() -> None:
    vectors = torch.tensor([[0.0, 0.0], [0.6, 0.8], [3.0, 4.0]], requires_grad=True)
    penalty = norm_penalty(vectors, torch.tensor(1.0))
    assert float(penalty.detach()) == pytest.approx((1 + 0 + 16) / 3)
    penalty.backward()
    assert torch.isfinite(vectors.grad).all()


@given(st.floats(0, 100), st.sampled_from(["linear", "cosine"]), st.integers(2, 50))
def test_a_rising_strength_starts_at_zero_ends_at_its_peak_and_never_falls(
    peak: float, schedule: ScheduleName, steps: int
) -> None:
    values = [RegulariserWeight(peak, schedule).at(step, steps) for step in range(steps)]
    assert values[0] == 0
    assert values[-1] == pytest.approx(peak)
    assert values == sorted(values)


def test_a_constant_strength_stays_the_same() -> None:
    assert RegulariserWeight(2.0, "constant").at(0, 11) == 2


@pytest.mark.parametrize("peak", [-1.0, float("nan"), float("inf")])
def test_settings_without_a_meaning_are_refused(peak: float) -> None:
    with pytest.raises(UsageError):
        RegulariserWeight(peak)
