"""Initial parameters of inner loops, and the real rows that outer losses are of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tdd_world import Checkpoint, make_context, make_matching, toy

from harness.errors import UsageError
from harness_tdd.outer_step import PerformanceMatching


@pytest.fixture(scope="module")
def matching(tmp_path_factory: pytest.TempPathFactory) -> PerformanceMatching:
    return make_matching(tmp_path_factory.mktemp("initial"), heads=3)


def parts(matching: PerformanceMatching, flat: torch.Tensor) -> dict[str, torch.Tensor]:
    return matching.initial.proxy.layout.split(flat)


def test_a_start_is_the_checkpoint_with_another_head(matching: PerformanceMatching) -> None:
    first, second = (parts(matching, matching.initial.learned_from(step)) for step in (0, 1))
    differing = [name for name in first if not torch.equal(first[name], second[name])]
    assert differing == ["classifier.weight"]


def test_heads_take_turns(matching: PerformanceMatching) -> None:
    starts = [matching.initial.learned_from(step) for step in range(6)]
    assert torch.equal(starts[1], starts[4])
    assert len({start[-50:].numpy().tobytes() for start in starts}) == 3


def test_without_a_number_every_step_has_its_own(tmp_path: Path) -> None:
    starts = make_matching(tmp_path, heads=0).initial
    assert len({starts.learned_from(step)[-50:].numpy().tobytes() for step in range(5)}) == 5


def test_heads_that_are_measured_on_are_never_learned_from(matching: PerformanceMatching) -> None:
    seen = [matching.initial.learned_from(step) for step in range(3)]
    for number in range(2):
        held = matching.initial.measured_on(number)
        assert not any(torch.equal(held, start) for start in seen)


def test_parameters_without_the_head_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="head is not among the trained parameters"):
        make_matching(tmp_path, parameters="*.layer.1.*")


def test_held_out_rows_are_never_drawn_nor_begun_with(matching: PerformanceMatching) -> None:
    real, draw = matching.real, np.random.default_rng(0)
    assert len(real.held) == 10
    drawn = np.concatenate([real.batch(8, draw) for _ in range(30)])
    assert not set(drawn) & set(real.held)
    assert set(drawn) == set(real.drawn)
    assert sorted([*real.drawn, *real.held]) == list(range(40))


def test_at_most_a_quarter_is_held_out(tmp_path: Path) -> None:
    assert len(make_matching(tmp_path, held_out=1000).real.held) == 10


def test_the_loss_of_real_rows_is_their_mean_cross_entropy_at_the_given_parameters(
    matching: PerformanceMatching, tmp_path: Path
) -> None:
    rows, context = np.array([3, 0, 7, 12, 25]), make_context(tmp_path, seed=3)
    fresh = Checkpoint("tiny").build(toy(), context, max_length=32)
    known = dict(fresh.model.named_parameters())
    layout = matching.initial.proxy.layout
    flat = layout.flatten({name: known[name].detach() for name in layout.names})
    probabilities = fresh.predict(toy().train.select(rows))
    labels = np.asarray(toy().train["label"][:])[rows]
    expected = -np.log(probabilities[np.arange(5), labels]).mean()
    assert float(matching.real.loss(rows)(flat)) == pytest.approx(expected, rel=1e-5)
