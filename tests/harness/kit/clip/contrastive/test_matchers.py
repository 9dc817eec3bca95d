"""Matchers against enumeration, scipy, POT and a slow loop, where matching binds and where not."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import ot
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from harness.errors import UsageError
from harness.kit.clip.contrastive.matchers import (
    best_patch,
    hungarian,
    k_to_one,
    new_matcher,
    sinkhorn,
)

NAMES = ["hungarian", "k-to-1", "max", "sinkhorn"]


def similarities(patches: int, words: int, images: int = 3, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(images, patches, words, dtype=torch.float64, generator=generator) * 2 - 1


def all_words(similarity: torch.Tensor) -> torch.Tensor:
    return torch.ones(similarity.shape[0], similarity.shape[2], dtype=torch.bool)


def total(plan: torch.Tensor, similarity: torch.Tensor) -> list[float]:
    return (plan * similarity).sum((1, 2)).tolist()


def best_one_to_one(similarity: np.ndarray) -> float:
    """By trying all of them."""
    if similarity.shape[0] < similarity.shape[1]:
        similarity = similarity.T
    patches, words = similarity.shape
    return max(
        sum(similarity[patch, word] for word, patch in enumerate(chosen))
        for chosen in itertools.permutations(range(patches), words)
    )


@pytest.mark.parametrize(("patches", "words"), [(6, 3), (3, 5), (4, 4), (1, 1)])
def test_hungarian_finds_the_best_of_all_assignments(patches: int, words: int) -> None:
    similarity = similarities(patches, words)
    plan = hungarian(similarity, all_words(similarity))
    expected = [best_one_to_one(own.numpy()) for own in similarity]
    assert total(plan, similarity) == pytest.approx(expected)
    assert plan.sum(1).max() == plan.sum(2).max() == 1
    assert plan.sum((1, 2)).tolist() == [min(patches, words)] * 3


def test_k_to_one_is_scipys_assignment_of_repeated_words() -> None:
    similarity = similarities(9, 3)
    plan = k_to_one(similarity, all_words(similarity), patches_a_word=2)
    for own, found in zip(similarity.numpy(), plan, strict=True):
        repeated = np.concatenate([own, own], axis=1)
        expected = repeated[linear_sum_assignment(-repeated)].sum()
        assert float((found * torch.from_numpy(own)).sum()) == pytest.approx(expected)
    assert (plan.sum(1) == 2).all()
    assert plan.sum(2).max() == 1


def test_each_word_takes_its_best_patch_under_max() -> None:
    similarity = similarities(5, 4)
    plan = best_patch(similarity, all_words(similarity))
    for own, found in zip(similarity, plan, strict=True):
        for word in range(4):
            assert int(found[:, word].argmax()) == int(np.argmax(own[:, word].numpy()))
    assert (plan.sum(1) == 1).all()


@pytest.mark.parametrize(("patches", "words"), [(16, 5), (4, 9), (64, 16)])
@pytest.mark.parametrize("entropy", [0.5, 0.05])
def test_sinkhorn_is_the_plan_of_pot(patches: int, words: int, entropy: float) -> None:
    similarity = similarities(patches, words)
    plan = sinkhorn(similarity, all_words(similarity), entropy=entropy, iterations=3000)
    for own, found in zip(similarity.numpy(), plan.numpy(), strict=True):
        even = (np.full(patches, 1 / patches), np.full(words, 1 / words))
        expected = ot.sinkhorn(
            *even, -own, entropy, method="sinkhorn_log", numItermax=20000, stopThr=1e-12
        )
        np.testing.assert_allclose(found, expected, atol=1e-8)
        np.testing.assert_allclose(found.sum(1), even[0], atol=1e-8)
        np.testing.assert_allclose(found.sum(0), even[1], atol=1e-12)


def test_few_iterations_are_those_of_a_plain_loop() -> None:
    similarity = similarities(4, 3, images=1)
    kernel = [[math.exp(float(v) / 0.3) for v in row] for row in similarity[0]]
    by_patch, by_word = [1.0] * 4, [1.0] * 3
    for _ in range(5):
        by_patch = [1 / 4 / sum(k * v for k, v in zip(row, by_word, strict=True)) for row in kernel]
        by_word = [1 / 3 / sum(kernel[i][j] * by_patch[i] for i in range(4)) for j in range(3)]
    expected = [[by_patch[i] * kernel[i][j] * by_word[j] for j in range(3)] for i in range(4)]
    plan = sinkhorn(similarity, all_words(similarity), entropy=0.3, iterations=5)
    torch.testing.assert_close(plan[0], torch.tensor(expected, dtype=torch.float64))


def test_a_tiny_entropy_neither_overflows_nor_forgets_anything() -> None:
    similarity = similarities(4, 4).float()
    plan = sinkhorn(similarity, all_words(similarity), entropy=1e-3, iterations=500)
    assert plan.isfinite().all()
    one_to_one = hungarian(similarity, all_words(similarity))
    torch.testing.assert_close(plan * 4, one_to_one, atol=0.05, rtol=0)


def test_with_more_words_than_patches_one_to_one_binds_and_max_does_not() -> None:
    similarity = similarities(3, 8)
    words = all_words(similarity)
    assert hungarian(similarity, words).sum((1, 2)).tolist() == [3, 3, 3]
    assert best_patch(similarity, words).sum((1, 2)).tolist() == [8, 8, 8]


def test_duplicated_patches_let_two_words_share_what_only_one_could_take() -> None:
    single = torch.tensor([[[0.9, 0.8], [0.1, 0.2]]])
    words = torch.ones(1, 2, dtype=torch.bool)
    assert total(hungarian(single, words), single) == pytest.approx([0.9 + 0.2])
    assert total(best_patch(single, words), single) == pytest.approx([0.9 + 0.8])
    doubled = torch.cat([single, single], dim=1)
    assert total(hungarian(doubled, words), doubled) == pytest.approx([0.9 + 0.8])


@given(
    name=st.sampled_from(NAMES),
    seed=st.integers(0, 20),
    lengths=st.tuples(*[st.integers(0, 5)] * 3),
)
def test_absent_words_get_nothing_and_change_nothing(
    name: Any, seed: int, lengths: tuple[int, ...]
) -> None:
    similarity = similarities(6, 5, seed=seed)
    words = torch.arange(5) < torch.tensor(lengths)[:, None]
    matcher = new_matcher(name)
    plan = matcher(similarity, words)
    assert plan.isfinite().all()
    assert (plan >= 0).all()
    assert float(plan.transpose(1, 2)[~words].abs().sum()) == 0.0
    for number, length in enumerate(lengths):
        if length:
            own = similarity[number : number + 1, :, :length]
            torch.testing.assert_close(
                plan[number, :, :length], matcher(own, all_words(own))[0], check_dtype=False
            )


@pytest.mark.parametrize("name", NAMES)
def test_a_plan_is_outside_the_graph(name: Any) -> None:
    similarity = similarities(6, 4).requires_grad_()
    plan = new_matcher(name)(similarity, all_words(similarity))
    assert not plan.requires_grad


@pytest.mark.parametrize(
    "wrong", [{"patches_a_word": 0}, {"entropy": 0.0}, {"iterations": 0}, {"entropy": math.nan}]
)
def test_options_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="positive"):
        new_matcher("sinkhorn", **wrong)
