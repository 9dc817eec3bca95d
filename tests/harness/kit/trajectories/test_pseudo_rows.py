"""Learned vectors in a model's rows: as the real tokens where they are real, silent where not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional
from trajectory_world import TEXTS, World, make_world, prompt_masks

from causal_models import FAMILIES, make_lm
from harness.errors import UsageError
from harness.kit.language.forward import CausalForward
from harness.kit.language.training import completion_losses
from harness.kit.text.classifier import TextClassifier
from harness.kit.training.batching import EncodedRows
from harness.kit.trajectories.inner_loop.flat_module import FlatModule
from harness.kit.trajectories.inner_loop.inner_losses import LABELS, ClassLoss
from harness.kit.trajectories.pseudo_rows import EMBEDDINGS, PseudoRows

EVERY = pytest.mark.parametrize("family", list(FAMILIES))
ALL = torch.arange(len(TEXTS))


def gradient_of_vectors(world: World) -> tuple[float, torch.Tensor]:
    leaf = world.learned(noise=0.2)[EMBEDDINGS].requires_grad_()
    loss = world.loss(world.view.start(), {EMBEDDINGS: leaf}, ALL)
    return float(loss.detach()), torch.autograd.grad(loss, leaf)[0]


@EVERY
def test_embedding_rows_of_real_ids_give_the_loss_of_the_ids(family: str) -> None:
    world = make_world(family)
    lm = world.lm
    with torch.no_grad():
        forward = CausalForward(lm.model, world.encoded.rows, lm.pad_id, lm.device)
        expected = completion_losses(forward, world.encoded, np.arange(4)).mean()
        found = world.loss(world.view.start(), world.learned(), ALL)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=0)


@EVERY
def test_positions_that_are_not_learned_get_no_gradient(family: str) -> None:
    world = make_world(family)
    _, gradient = gradient_of_vectors(world)
    assert not gradient[~world.pseudo.mask].any()
    assert gradient[world.pseudo.mask].any(1).all()


@EVERY
def test_a_longer_row_elsewhere_changes_no_other_rows_loss(family: str) -> None:
    world, alone = make_world(family), make_world(family, texts=TEXTS[2:3])
    whole, single = world.learned(), alone.learned()
    long = world.loss(
        world.view.start(), {EMBEDDINGS: whole[EMBEDDINGS][[2, 2, 0]]}, _rows(2, 2, 0)
    )
    rest = world.loss(world.view.start(), {EMBEDDINGS: whole[EMBEDDINGS][[0]]}, _rows(0))
    own = alone.loss(alone.view.start(), single, _rows(0))
    torch.testing.assert_close(3 * long - rest, 2 * own)


def test_soft_labels_that_are_certain_are_hard_labels() -> None:
    world = make_world()
    learned = world.learned(soft=True)
    for row, labels in enumerate(world.encoded.labels):
        wanted = labels[labels >= 0]
        learned[LABELS][row] = 0
        learned[LABELS][row, np.arange(len(wanted)), wanted] = 1e3
    hard = world.loss(world.view.start(), world.learned(), ALL)
    torch.testing.assert_close(world.loss(world.view.start(), learned, ALL), hard)


def test_a_row_without_a_position_to_learn_is_refused() -> None:
    lm = make_lm()
    encoded = lm.encoder().encode(TEXTS, end=True)
    masks = list(prompt_masks(encoded))
    masks[1] = np.zeros_like(masks[1])
    with pytest.raises(UsageError, match="row 1 has no position to learn"):
        PseudoRows(encoded.rows, tuple(masks), lm.pad_id, lm.device)


def test_rows_that_pad_on_the_left_are_refused() -> None:
    rows = EncodedRows((np.array([1, 2]),), side="left")
    with pytest.raises(UsageError, match="pads left"):
        PseudoRows(rows, (np.array([True, True]),), 0, torch.device("cpu"))


def _rows(*numbers: int) -> torch.Tensor:
    return torch.tensor(numbers)


class TestClassifier:
    @pytest.fixture
    def parts(
        self, make_classifier: Callable[..., TextClassifier]
    ) -> tuple[TextClassifier, ClassLoss]:
        classifier = make_classifier(dtype=torch.float64)
        ids = tuple(np.array([2, *body, 3], dtype=np.int32) for body in ([5, 6, 7, 8], [9], [4, 4]))
        types = tuple(np.zeros(len(row), dtype=np.int32) for row in ids)
        masks = tuple(np.array([0, *[1] * (len(row) - 2), 0], dtype=bool) for row in ids)
        pseudo = PseudoRows(EncodedRows(ids, types), masks, 0, torch.device("cpu"))
        view = FlatModule.of(classifier.model)
        return classifier, ClassLoss(view, pseudo, torch.tensor([0, 2, 1]))

    def test_embedding_rows_of_real_ids_give_the_loss_of_the_ids(self, parts: Any) -> None:
        classifier, loss = parts
        members = torch.arange(3)
        with torch.no_grad():
            logits = classifier.model(**loss.pseudo.rows.pad(np.arange(3), 0, "cpu")).logits
            expected = functional.cross_entropy(logits, loss.labels)
            learned = {EMBEDDINGS: loss.pseudo.initial(loss.view)}
            torch.testing.assert_close(loss(loss.view.start(), learned, members), expected)

    def test_padding_gets_no_gradient_and_has_no_influence(self, parts: Any) -> None:
        _, loss = parts
        leaf = loss.pseudo.initial(loss.view).requires_grad_()
        flat = loss.view.start()
        found = loss(flat, {EMBEDDINGS: leaf[[0, 1]]}, torch.tensor([0, 1]))
        (gradient,) = torch.autograd.grad(found, leaf)
        assert not gradient[~loss.pseudo.mask].any()
        alone = [loss(flat, {EMBEDDINGS: leaf[[k]]}, torch.tensor([k])) for k in (0, 1)]
        torch.testing.assert_close(found, torch.stack(alone).mean())

    def test_soft_labels_that_are_certain_are_hard_labels(self, parts: Any) -> None:
        _, loss = parts
        learned = {EMBEDDINGS: loss.pseudo.initial(loss.view)}
        soft = {**learned, LABELS: 1e3 * functional.one_hot(loss.labels, 3).double()}
        members, flat = torch.arange(3), loss.view.start()
        torch.testing.assert_close(loss(flat, soft, members), loss(flat, learned, members))
