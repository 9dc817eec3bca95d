"""Trajectories of the learner: shared or not, the states are those of training to them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dilm_world import MATCHING, make_classifier, make_context, make_generator, make_rows, make_task
from hypothesis import given
from hypothesis import strategies as st

from harness.kit.files.resume_point import ResumePoint
from harness_dilm.matching.gradient_matching import GradientMatching
from harness_dilm.matching.learner import Learner, RowTable
from harness_dilm.matching.learner_states import LearnerStates
from harness_dilm.options import MatchingOptions

FOUR_LOOPS: dict[str, Any] = {**MATCHING, "match_steps": 4, "dms_interval": 12}
Arrays = dict[str, np.ndarray]


def resume_point(folder: Path) -> ResumePoint:
    return ResumePoint(folder / "phase.safetensors", {})


def make_states(folder: Path, kept: bool) -> tuple[LearnerStates, Learner]:
    classifier, rows = make_classifier(), make_rows(24, 1)
    learner = Learner(classifier, MatchingOptions(**MATCHING), make_context(folder))
    table, labels = RowTable(classifier.encode(rows)), np.asarray(rows["label"])
    return LearnerStates(learner, table, labels, resume_point(folder) if kept else None), learner


def state(learner: Learner) -> dict[str, torch.Tensor]:
    return {k: v.detach().clone() for k, v in learner.classifier.model.state_dict().items()}


@contextmanager
def counted(target: type, method: str) -> Iterator[list[tuple[Any, ...]]]:
    """The arguments of every call of a method inside the block."""
    calls: list[tuple[Any, ...]] = []
    original = getattr(target, method)

    def spy(self: Any, *arguments: Any) -> Any:
        calls.append(arguments)
        return original(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(target, method, spy)
        yield calls


def match(folder: Path, **options: Any) -> Arrays:
    task, context = make_task(), make_context(folder)
    chosen = MatchingOptions(**{**FOUR_LOOPS, **options})
    generator = make_generator(task, context)
    rows = generator.format.encode(task.train, generator.max_length)
    matching = GradientMatching(generator, make_classifier(), task, rows, 12, chosen, context)
    trace = matching.run(resume_point(folder))
    return {**trace.arrays(), **generator.parameters()}


def equal(one: Arrays, other: Arrays) -> bool:
    return all(np.array_equal(array, other[name]) for name, array in one.items())


@given(
    visits=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), min_size=1, max_size=6),
    kept=st.booleans(),
)
def test_a_state_is_the_same_whatever_was_visited_before_it(
    tmp_path_factory: pytest.TempPathFactory, visits: list[tuple[int, int]], kept: bool
) -> None:
    folder = tmp_path_factory.mktemp("states")
    states, learner = make_states(folder, kept)
    for place in visits:
        states.visit(*place)
    found = state(learner)
    direct, other = make_states(folder, kept=False)
    direct.visit(*visits[-1])
    assert all(torch.equal(value, found[name]) for name, value in state(other).items())


def test_states_in_order_are_trained_on_and_not_from_the_start(tmp_path: Path) -> None:
    states, _ = make_states(tmp_path, kept=False)
    with counted(Learner, "train") as rounds:
        for inner in range(4):
            states.visit(0, inner)
    assert [call[2:] for call in rounds] == [(0, 1), (0, 2), (0, 3)]


@pytest.mark.parametrize("damaged", [False, True])
def test_a_kept_state_is_not_trained_again_unless_its_file_is_damaged(
    tmp_path: Path, damaged: bool
) -> None:
    states, _ = make_states(tmp_path, kept=True)
    states.visit(1, 1)
    (file,) = tmp_path.glob("*.learner-1-1.*")
    if damaged:
        file.write_bytes(file.read_bytes()[:-7])
    again, _ = make_states(tmp_path, kept=True)
    with counted(Learner, "train") as rounds:
        again.visit(1, 1)
    assert len(rounds) == int(damaged)


def test_as_many_trajectories_as_loops_change_nothing(tmp_path: Path) -> None:
    own = match(tmp_path / "own")
    shared = match(tmp_path / "shared", learner_trajectories=4)
    assert equal(own, shared)


def test_fewer_trajectories_come_round_again(tmp_path: Path) -> None:
    options = MatchingOptions(**{**FOUR_LOOPS, "learner_trajectories": 2})
    places = [options.learner_place(update) for update in range(options.updates)]
    assert places == [(t, inner) for t in (0, 1, 0, 1) for inner in range(3)]
    assert not equal(match(tmp_path / "own"), match(tmp_path / "two", learner_trajectories=2))


@pytest.mark.parametrize("updates", ["all", "head"])
def test_states_and_real_gradients_are_computed_once(tmp_path: Path, updates: str) -> None:
    with (
        counted(Learner, "train") as rounds,
        counted(GradientMatching, "_real_gradients") as gradients,
    ):
        match(tmp_path, learner_trajectories=1, learner_updates=updates)
    places = {(inner, update % 2) for update in range(12) for inner in [update % 3]}
    assert len(gradients) == len(places) == 6
    assert len(rounds) == (2 if updates == "all" else 8)
    assert len(list(tmp_path.glob("*.learner-*"))) == (2 if updates == "all" else 0)


def test_real_rows_that_are_drawn_anew_have_new_gradients(tmp_path: Path) -> None:
    with counted(GradientMatching, "_real_gradients") as gradients:
        match(tmp_path, learner_trajectories=1, representative=False)
    assert len(gradients) == 12


@pytest.mark.parametrize("updates", ["all", "head"])
def test_kept_real_gradients_are_those_computed_anew(
    tmp_path: Path, updates: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"learner_trajectories": 1, "learner_updates": updates}
    kept = match(tmp_path / "kept", **options)
    monkeypatch.setattr(
        GradientMatching,
        "_head_targets",
        lambda self, step, teacher: self._real_gradients(teacher),
    )
    assert equal(kept, match(tmp_path / "anew", **options))
