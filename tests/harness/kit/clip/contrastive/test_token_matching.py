"""The loss between patches and words: which gradients flow, and who is counted."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from harness.kit.clip.contrastive.matchers import Matcher, new_matcher
from harness.kit.clip.contrastive.token_matching import (
    matched_contrast_loss,
    matched_pairs_loss,
    plan_scores,
)

NAMES = ["hungarian", "k-to-1", "max", "sinkhorn"]
SCALE = torch.tensor(5.0, dtype=torch.float64)


def tokens(rows: int = 3, patches: int = 6, words: int = 4, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(rows, count, 5, dtype=torch.float64, generator=generator)
        for count in (patches, words)
    ]


def lengths(*counts: int) -> torch.Tensor:
    return torch.arange(4) < torch.tensor(counts)[:, None]


def score(image: torch.Tensor, text: torch.Tensor, matcher: Matcher) -> float:
    """Of one image and its words, by a loop over the plan."""
    similarity = torch.tensor(
        [[float(functional.cosine_similarity(a, b, dim=0)) for b in text] for a in image]
    ).double()
    plan = matcher(similarity[None], torch.ones(1, len(text), dtype=torch.bool))[0]
    matched = [
        (float(plan[i, j]), float(similarity[i, j]))
        for i in range(len(image))
        for j in range(len(text))
    ]
    return sum(share * value for share, value in matched) / sum(share for share, _ in matched)


@pytest.mark.parametrize("name", NAMES)
def test_pairs_are_scored_by_the_mean_similarity_of_what_is_matched(name: Any) -> None:
    patches, texts = tokens()
    counts = (4, 2, 3)
    matcher = new_matcher(name)
    expected = [
        1 - score(image, text[:count], matcher)
        for image, text, count in zip(patches, texts, counts, strict=True)
    ]
    found = matched_pairs_loss(patches, texts, lengths(*counts), matcher)
    assert float(found) == pytest.approx(sum(expected) / 3, abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_contrast_scores_every_image_with_every_caption(name: Any) -> None:
    patches, texts = tokens()
    counts = (4, 2, 3)
    matcher = new_matcher(name)
    scores = [
        [score(image, text[:count], matcher) for text, count in zip(texts, counts, strict=True)]
        for image in patches
    ]
    logits = SCALE * torch.tensor(scores, dtype=torch.float64)
    places = torch.arange(3)
    expected = (
        functional.cross_entropy(logits, places) + functional.cross_entropy(logits.T, places)
    ) / 2
    found = matched_contrast_loss(patches, texts, lengths(*counts), matcher, SCALE, 2)
    assert float(found) == pytest.approx(float(expected), abs=1e-6)


def test_few_negatives_are_the_next_captions_and_the_images_before() -> None:
    patches, texts = tokens(5)
    matcher = new_matcher("hungarian")
    scores = torch.tensor([[score(image, text, matcher) for text in texts] for image in patches])
    expected = 0.0
    for place in range(5):
        nearby = [(place + shift) % 5 for shift in range(3)]
        expected -= float((5 * scores[place, nearby]).log_softmax(0)[0]) / 10
        nearby = [(place - shift) % 5 for shift in range(3)]
        expected -= float((5 * scores[nearby, place]).log_softmax(0)[0]) / 10
    words = torch.ones(5, 4, dtype=torch.bool)
    found = matched_contrast_loss(patches, texts, words, matcher, SCALE, 2)
    assert float(found) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_the_loss_under_a_fixed_plan(name: Any) -> None:
    patches, texts = (t.requires_grad_() for t in tokens())
    words = lengths(4, 2, 3)
    plans: list[torch.Tensor] = []

    def watched(similarity: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        assert not similarity.requires_grad
        plans.append(new_matcher(name)(similarity, present))
        return plans[0]

    found = torch.autograd.grad(matched_pairs_loss(patches, texts, words, watched), patches)[0]
    similarity = torch.stack(
        [
            torch.stack([functional.cosine_similarity(a, b[None], dim=1) for b in own], dim=1)
            for a, own in zip(patches, texts, strict=True)
        ]
    )
    fixed = (1 - (plans[0] * similarity).sum((1, 2)) / plans[0].sum((1, 2))).mean()
    torch.testing.assert_close(found, torch.autograd.grad(fixed, patches)[0])
    assert torch.autograd.gradcheck(
        lambda p, t: matched_pairs_loss(p, t, words, watched), (patches, texts)
    )


def test_gradients_of_the_contrast_are_right() -> None:
    patches, texts = (t.requires_grad_() for t in tokens())
    scale = SCALE.clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda p, t, s: matched_contrast_loss(
            p, t, lengths(4, 2, 3), new_matcher("hungarian"), s, 2
        ),
        (patches, texts, scale),
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_caption_without_words_is_not_counted(name: Any) -> None:
    patches, texts = tokens()
    matcher = new_matcher(name)
    whole = matched_pairs_loss(patches, texts, lengths(4, 0, 3), matcher)
    kept = matched_pairs_loss(patches[[0, 2]], texts[[0, 2]], lengths(4, 3), matcher)
    torch.testing.assert_close(whole, kept)
    contrast = matched_contrast_loss(patches, texts, lengths(4, 0, 3), matcher, SCALE, 2)
    others = matched_contrast_loss(patches[[0, 2]], texts[[0, 2]], lengths(4, 3), matcher, SCALE, 2)
    torch.testing.assert_close(contrast, others)


@pytest.mark.parametrize("rows", [1, 3])
def test_captions_without_any_word_leave_a_loss_of_zero_with_gradients(rows: int) -> None:
    patches, texts = (t.requires_grad_() for t in tokens(rows))
    none = lengths(*[0] * rows)
    for loss in (
        matched_pairs_loss(patches, texts, none, new_matcher("hungarian")),
        matched_contrast_loss(patches, texts, none, new_matcher("hungarian"), SCALE, 2),
    ):
        loss.backward()
        assert float(loss.detach()) == 0.0
    assert float(patches.grad.abs().max()) == 0.0


def test_the_same_tokens_on_both_sides_match_perfectly() -> None:
    patches, _ = tokens(patches=4)
    loss = matched_pairs_loss(patches, patches.flip(1), lengths(4, 4, 4), new_matcher("hungarian"))
    assert float(loss) == pytest.approx(0.0, abs=1e-12)


def test_an_empty_plan_scores_nothing() -> None:
    similarity = torch.ones(2, 3, 4)
    assert plan_scores(similarity, torch.zeros(2, 3, 4)).tolist() == [0, 0]
