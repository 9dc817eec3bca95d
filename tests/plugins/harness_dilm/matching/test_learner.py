"""The learner: its resets, its updates on real rows, and what it hides from dropout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dilm_world import LEARNERS, make_classifier, make_context, make_rows
from torch import nn

from harness_dilm.matching.learner import Learner, RowTable
from harness_dilm.matching.similarity import HeadBatch
from harness_dilm.options import MatchingOptions

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
OPTIONS: dict[str, Any] = {
    "inner_steps": 3,
    "learner_steps_between": 4,
    "learner_batch_size": 8,
    "learner_learning_rate": 1e-2,
    "dtype": "float32",
}


def make_learner(
    folder: Path, family: str = "bert", device: str = "cpu", **options: Any
) -> Learner:
    classifier = make_classifier(family=family)
    classifier.device = torch.device(device)
    classifier.model.to(device)
    return Learner(
        classifier, MatchingOptions(**{**OPTIONS, **options}), make_context(folder, device=device)
    )


def real(learner: Learner) -> tuple[RowTable, np.ndarray]:
    rows = make_rows(24, 1)
    return RowTable(learner.classifier.encode(rows)), np.asarray(rows["label"])


def state(learner: Learner) -> dict[str, torch.Tensor]:
    return {k: v.detach().clone() for k, v in learner.classifier.model.state_dict().items()}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("family", LEARNERS)
def test_a_reset_restores_the_encoder_and_draws_a_new_head(
    tmp_path: Path, family: str, device: str
) -> None:
    learner = make_learner(tmp_path, family, device)
    prefix = learner.classifier.model.base_model_prefix
    pretrained = state(learner)
    learner.reset(0)
    first = state(learner)
    learner.train(*real(learner), 0, 1)
    trained = state(learner)
    learner.reset(1)
    second = state(learner)
    encoder = [name for name in pretrained if name.startswith(prefix)]
    head = [name for name in pretrained if not name.startswith(prefix) and "weight" in name]
    assert head
    assert any(not torch.equal(trained[name], pretrained[name]) for name in encoder)
    assert all(torch.equal(second[name], pretrained[name]) for name in encoder)
    assert all(not torch.equal(second[name], first[name]) for name in head)


def test_the_new_head_is_small_and_without_bias(tmp_path: Path) -> None:
    learner = make_learner(tmp_path)
    draws = []
    for loop in range(60):
        learner.reset(loop)
        draws.append(learner.classifier.head.weight.detach().clone())
        assert (learner.classifier.head.bias == 0).all()
    assert torch.stack(draws).std().item() == pytest.approx(0.02, rel=0.05)


def test_a_loop_is_the_same_whatever_came_before_it(tmp_path: Path) -> None:
    learner, other = make_learner(tmp_path), make_learner(tmp_path)
    learner.reset(0)
    learner.train(*real(learner), 0, 1)
    for each in (learner, other):
        each.reset(5)
        each.train(*real(each), 5, 1)
    assert all(torch.equal(a, state(other)[name]) for name, a in state(learner).items())


@pytest.mark.parametrize("updates", ["all", "head"])
def test_real_gradients_see_the_updates_of_the_learner(tmp_path: Path, updates: str) -> None:
    learner = make_learner(tmp_path, learner_updates=updates)
    table, labels = real(learner)
    positives = np.flatnonzero(labels == 1)
    learner.reset(0)

    def gradient() -> torch.Tensor:
        features = learner.head_inputs(table, positives)
        return HeadBatch.at(learner.classifier.head, features, 1).mean_gradient()[0]

    before = gradient()
    learner.train(table, labels, 0, 1)
    assert not torch.allclose(before, gradient(), rtol=1e-3)


def test_dropout_is_off_while_the_learner_trains_and_is_matched(tmp_path: Path) -> None:
    learner = make_learner(tmp_path)
    modes: list[bool] = []
    for module in learner.classifier.model.modules():
        if isinstance(module, nn.Dropout):
            module.register_forward_pre_hook(lambda module, _: modes.append(module.training))
    table, labels = real(learner)
    learner.reset(0)
    learner.train(table, labels, 0, 1)
    learner.head_inputs(table, np.arange(6))
    assert modes
    assert not any(modes)


def test_training_on_real_rows_lowers_their_loss(tmp_path: Path) -> None:
    learner = make_learner(tmp_path, inner_steps=3, learner_steps_between=25)
    table, labels = real(learner)

    def loss() -> float:
        logits = learner.classifier.head(learner.head_inputs(table, np.arange(24)))
        return nn.functional.cross_entropy(logits, torch.from_numpy(labels)).item()

    learner.reset(0)
    before = loss()
    for round_ in (1, 2):
        learner.train(table, labels, 0, round_)
    assert loss() < 0.7 * before


def test_a_frozen_encoder_changes_nothing_but_the_head_and_sees_each_row_once(
    tmp_path: Path,
) -> None:
    learner = make_learner(tmp_path, learner_updates="head")
    table, labels = real(learner)
    learner.reset(0)
    before = state(learner)
    seen: list[int] = []
    learner.classifier.head.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    learner.train(table, labels, 0, 1)
    after = state(learner)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"classifier.weight", "classifier.bias"}
    seen.clear()
    known = learner.head_inputs(table, np.arange(24))
    forwards = sum(seen)
    again = learner.head_inputs(table, np.array([3, 3, 20]))
    assert sum(seen) == forwards
    torch.testing.assert_close(again, known[[3, 3, 20]])


@pytest.mark.parametrize("family", LEARNERS)
def test_what_is_known_of_a_frozen_encoder_holds_after_a_reset(tmp_path: Path, family: str) -> None:
    """RoBERTa and XLNet have layers of their own between the encoder and the head."""
    learner = make_learner(tmp_path, family, learner_updates="head")
    table, labels = real(learner)
    learner.reset(0)
    learner.train(table, labels, 0, 1)
    learner.head_inputs(table, np.arange(24))
    learner.reset(1)
    anew = learner.head_inputs(RowTable(table.rows), np.arange(24))
    torch.testing.assert_close(learner.head_inputs(table, np.arange(24)), anew)


@pytest.mark.parametrize("updates", ["all", "head"])
@pytest.mark.parametrize("family", LEARNERS)
def test_a_state_that_was_written_down_comes_back_bit_for_bit(
    tmp_path: Path, family: str, updates: str
) -> None:
    learner = make_learner(tmp_path, family, learner_updates=updates)
    table, labels = real(learner)
    learner.reset(4)
    learner.train(table, labels, 4, 1)
    arrays = {name: array.copy() for name, array in learner.arrays().items()}
    expected = state(learner)
    learner.train(table, labels, 4, 2)
    learner.restore(4, arrays)
    assert all(torch.equal(value, expected[name]) for name, value in state(learner).items())


@pytest.mark.parametrize("updates", ["all", "head"])
def test_head_inputs_are_those_of_the_classifier(tmp_path: Path, updates: str) -> None:
    learner = make_learner(tmp_path, learner_updates=updates)
    rows = make_rows(24, 1)
    table = RowTable(learner.classifier.encode(rows))
    wanted = np.array([5, 0, 11, 23])
    got = learner.head_inputs(table, wanted)
    expected = learner.classifier.embed(rows, "head")[wanted]
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_the_raw_encoder_can_be_borrowed(tmp_path: Path) -> None:
    learner = make_learner(tmp_path)
    rows = make_rows(6, 1)
    raw = learner.classifier.embed(rows, "cls")
    learner.reset(0)
    learner.train(*real(learner), 0, 1)
    trained = learner.classifier.embed(rows, "cls")
    with learner.pretrained():
        np.testing.assert_array_equal(learner.classifier.embed(rows, "cls"), raw)
    np.testing.assert_array_equal(learner.classifier.embed(rows, "cls"), trained)
    assert not np.allclose(raw, trained)
