"""Where inner loops begin, and which real rows they are judged by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tdd_world import Checkpoint, make_context, make_learning, toy

from harness.errors import UsageError
from harness_tdd.outer_step import Learning


@pytest.fixture(scope="module")
def learning(tmp_path_factory: pytest.TempPathFactory) -> Learning:
    return make_learning(tmp_path_factory.mktemp("starts"), heads=3)


def parts(learning: Learning, flat: torch.Tensor) -> dict[str, torch.Tensor]:
    return learning.starts.proxy.layout.split(flat)


def test_a_start_is_the_checkpoint_with_another_head(learning: Learning) -> None:
    first, second = (parts(learning, learning.starts.learned_from(step)) for step in (0, 1))
    differing = [name for name in first if not torch.equal(first[name], second[name])]
    assert differing == ["classifier.weight"]


def test_heads_take_turns(learning: Learning) -> None:
    starts = [learning.starts.learned_from(step) for step in range(6)]
    assert torch.equal(starts[1], starts[4])
    assert len({start[-50:].numpy().tobytes() for start in starts}) == 3


def test_without_a_number_every_step_has_its_own(tmp_path: Path) -> None:
    starts = make_learning(tmp_path, heads=0).starts
    assert len({starts.learned_from(step)[-50:].numpy().tobytes() for step in range(5)}) == 5


def test_heads_that_are_measured_on_are_never_learned_from(learning: Learning) -> None:
    seen = [learning.starts.learned_from(step) for step in range(3)]
    for number in range(2):
        held = learning.starts.measured_on(number)
        assert not any(torch.equal(held, start) for start in seen)


def test_parameters_without_the_head_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="head is not among the trained parameters"):
        make_learning(tmp_path, parameters="*.layer.1.*")


def test_held_out_rows_are_never_drawn_nor_begun_with(learning: Learning) -> None:
    real, draw = learning.real, np.random.default_rng(0)
    assert len(real.held) == 10
    drawn = np.concatenate([real.batch(8, draw) for _ in range(30)])
    assert not set(drawn) & set(real.held)
    assert set(drawn) == set(real.drawn)
    assert sorted([*real.drawn, *real.held]) == list(range(40))


def test_at_most_a_quarter_is_held_out(tmp_path: Path) -> None:
    assert len(make_learning(tmp_path, held_out=1000).real.held) == 10


def test_the_loss_of_real_rows_is_their_mean_cross_entropy_at_the_given_parameters(
    learning: Learning, tmp_path: Path
) -> None:
    rows, context = np.array([3, 0, 7, 12, 25]), make_context(tmp_path, seed=3)
    fresh = Checkpoint("tiny").build(toy(), context, max_length=32)
    known = dict(fresh.model.named_parameters())
    layout = learning.starts.proxy.layout
    flat = layout.flatten({name: known[name].detach() for name in layout.names})
    probabilities = fresh.predict(toy().train.select(rows))
    labels = np.asarray(toy().train["label"][:])[rows]
    expected = -np.log(probabilities[np.arange(5), labels]).mean()
    assert float(learning.real.loss(rows)(flat)) == pytest.approx(expected, rel=1e-5)
