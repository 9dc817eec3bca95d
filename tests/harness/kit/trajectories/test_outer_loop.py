"""The outer loop: torch's Adam on synthetic data, stopped by divergence, resumed bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from harness.context import StageContext
from harness.errors import DivergenceError
from harness.kit.files.resume_point import ResumePoint
from harness.kit.trajectories.outer_loop import OuterLoop, OuterState

STEPS = 6


def start() -> OuterState:
    draw = torch.Generator().manual_seed(0)
    learned = {
        "vectors": torch.randn(2, 3, generator=draw), "rho": torch.tensor(0.3),
        "labels": torch.zeros(2),
    }  # fmt: skip
    return OuterState.initial(learned, ("loss", "rate"), seen=torch.zeros(2, dtype=torch.int64))


@dataclass
class Toy:
    """Draws gradients by the step's number; at a step of `failing` it raises, once each."""

    failing: dict[int, BaseException] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)

    def step(self, state: OuterState) -> OuterState:
        number = state.steps
        self.asked.append(number)
        if number in self.failing:
            raise self.failing.pop(number)
        draw = torch.Generator().manual_seed(number)
        gradients = {
            name: torch.randn(state.learned[name].shape, generator=draw)
            for name in ("vectors", "rho")
        }
        state = replace(state, carried={"seen": state.carried["seen"] + number})
        rates = {"vectors": 0.1, "rho": 0.01 * int(state.carried["seen"][0])}
        return state.updated(gradients, rates, {"loss": 1 / (number + 1), "rate": rates["rho"]})


def run(folder: Path, toy: Toy, seconds: float = -1.0) -> OuterState:
    """A resume point is due after every step, unless `seconds` says otherwise."""
    loop = OuterLoop("toy", start(), toy.step, STEPS, StageContext(0, folder))
    return loop.run(ResumePoint(folder / "learning.safetensors", {"seed": 0}, seconds))


def require_equal(found: OuterState, expected: OuterState) -> None:
    ours, theirs = found.arrays(), expected.arrays()
    assert ours.keys() == theirs.keys()
    for name, array in theirs.items():
        assert ours[name].dtype == array.dtype
        np.testing.assert_array_equal(ours[name], array, err_msg=name)


def test_steps_are_those_of_torchs_adam() -> None:
    draw = torch.Generator().manual_seed(0)
    leaf = torch.randn(4, 3, generator=draw, dtype=torch.float64)
    known = leaf.clone().requires_grad_()
    optimizer = torch.optim.Adam([known], lr=0.1, eps=1e-12)
    state = OuterState.initial({"leaf": leaf}, ("loss",))
    for _ in range(5):
        gradient = torch.randn(4, 3, generator=draw, dtype=torch.float64)
        known.grad = gradient
        optimizer.step()
        state = state.updated({"leaf": gradient}, {"leaf": 0.1}, {"loss": 0.0})
        torch.testing.assert_close(state.learned["leaf"], known.detach())
    assert state.steps == 5


def test_what_has_no_gradient_stays_where_it_is() -> None:
    state = OuterState.initial({"zero": torch.ones(3), "none": torch.ones(2)}, ("loss",))
    moved = state.updated({"zero": torch.zeros(3)}, {"zero": 0.1}, {"loss": 0.0})
    assert torch.equal(moved.learned["zero"], torch.ones(3))
    assert torch.equal(moved.learned["none"], torch.ones(2))


def test_a_state_is_read_back_as_it_was(tmp_path: Path) -> None:
    state = run(tmp_path, Toy())
    again = start().restored(state.arrays())
    require_equal(again, state)
    assert again.learned["rho"].shape == again.moments["rho"][1].shape == ()
    assert again.carried["seen"].dtype == torch.int64


@given(kills=st.lists(st.integers(0, STEPS - 1), max_size=3))
@example(kills=[0])
@example(kills=[4, 2, 5])
def test_a_killed_loop_goes_on_and_ends_bit_for_bit_where_an_undisturbed_one_does(
    kills: list[int],
) -> None:
    with TemporaryDirectory() as whole, TemporaryDirectory() as killed:
        expected = run(Path(whole), Toy())
        for at in kills:
            with suppress(KeyboardInterrupt):
                run(Path(killed), Toy({at: KeyboardInterrupt()}))
        require_equal(run(Path(killed), Toy()), expected)


def test_what_was_written_is_not_done_again(tmp_path: Path) -> None:
    toy = Toy({4: KeyboardInterrupt()})
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, toy)
    run(tmp_path, toy)
    assert toy.asked == [0, 1, 2, 3, 4, 4, 5]
    run(tmp_path, toy)
    assert len(toy.asked) == 7


def test_what_was_not_due_is_done_again(tmp_path: Path) -> None:
    toy = Toy({2: KeyboardInterrupt()})
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, toy, seconds=1000.0)
    run(tmp_path, toy, seconds=1000.0)
    assert toy.asked == [0, 1, 2, 0, 1, 2, 3, 4, 5]


def test_a_diverging_loop_ends_at_what_was_learned_when_its_last_one_did_not(
    tmp_path: Path,
) -> None:
    states = []

    def noted(step: Callable[[OuterState], OuterState]) -> Callable[[OuterState], OuterState]:
        def taken(state: OuterState) -> OuterState:
            states.append(state)
            return step(state)

        return taken

    toy = Toy({3: DivergenceError("far away")})
    toy.step = noted(toy.step)  # type: ignore[method-assign]
    state = run(tmp_path, toy)
    assert state.diverged == state.steps == 3
    assert torch.equal(state.learned["vectors"], states[2].learned["vectors"])
    require_equal(run(tmp_path, Toy()), state)


def test_a_loop_that_diverges_at_once_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DivergenceError, match="toy: far away before anything was learned"):
        run(tmp_path, Toy({0: DivergenceError("far away")}))


@pytest.mark.parametrize("diverged", [-1, 2])
def test_files_that_were_written_flat_and_with_the_count_of_steps_are_read(
    tmp_path: Path, diverged: int
) -> None:
    state = replace(run(tmp_path, Toy()), diverged=diverged)
    flat = {name: array.reshape(-1) for name, array in state.arrays().items()}
    del flat["diverged"]
    flat["numbers"] = np.array([STEPS, diverged, 2, 3])
    require_equal(start().restored(flat), state)


def test_results_that_were_kept_without_moments_are_read(tmp_path: Path) -> None:
    state = run(tmp_path, Toy())
    arrays = state.arrays()
    kept = {
        name: array
        for name, array in arrays.items()
        if name.split()[0] not in ("first", "second", "good", "seen")
    }
    found = start().restored(kept)
    for name, tensor in state.learned.items():
        assert torch.equal(found.learned[name], tensor)
    assert found.curves == state.curves
