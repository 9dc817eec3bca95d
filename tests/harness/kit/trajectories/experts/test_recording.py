"""What is kept of an expert is how it was trained: states, memories, losses and batches."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from harness.errors import DivergenceError, HarnessError, UsageError
from harness.kit.trajectories.experts import (
    ExpertModel,
    ExpertOptimizer,
    ExpertOptions,
    ExpertTrajectories,
)

Record = Callable[..., ExpertTrajectories]
Make = Callable[..., ExpertModel]

SGD = ExpertOptimizer("sgd", 0.1)
MOMENTUM = ExpertOptimizer("sgd", 0.1, momentum=0.9)
ADAM = ExpertOptimizer("adam", 0.01, betas=(0.8, 0.95), eps=1e-7)


def squared_error(expert_model: ExpertModel, rows: np.ndarray) -> list[torch.Tensor]:
    """Gradients of the model's loss by autograd, without its bookkeeping."""
    parameters = list(expert_model.module.parameters())
    for parameter in parameters:
        parameter.grad = None
    expert_model.accumulate(rows)
    return [parameter.grad.clone() for parameter in parameters if parameter.grad is not None]


class TestStates:
    def test_they_begin_with_one_initialisation_and_differ_pairwise(
        self, record: Record, make_expert_model: Make
    ) -> None:
        expert_model = make_expert_model()
        initial = nn.utils.parameters_to_vector(expert_model.module.parameters()).detach().clone()
        found = record(expert_model, optimizer=SGD)
        for expert in range(2):
            states = [found.state(expert, state) for state in range(4)]
            assert torch.equal(states[0], initial)
            for one, other in combinations(states, 2):
                assert not torch.equal(one, other)
        assert not torch.equal(found.state(0, 3), found.state(1, 3))

    def test_the_learner_has_its_own_weights_again(
        self, record: Record, make_expert_model: Make
    ) -> None:
        expert_model = make_expert_model()
        before = [p.detach().clone() for p in expert_model.module.parameters()]
        expert_model.module.train()
        record(expert_model, optimizer=SGD)
        assert expert_model.module.training
        assert all(map(torch.equal, expert_model.module.parameters(), before))
        assert all(p.grad is None and p.requires_grad for p in expert_model.module.parameters())

    def test_they_are_mapped_from_files_and_a_state_is_a_copy(
        self, record: Record, tmp_path: Path
    ) -> None:
        found = record()
        assert isinstance(found.states, np.memmap)
        assert not found.states.flags.writeable
        found.state(0, 1).zero_()
        assert found.state(0, 1).any()
        raw = np.fromfile(tmp_path / "experts/states.bin", "<f4").reshape(2, 4, -1)
        np.testing.assert_array_equal(raw[1, 2], found.state(1, 2).numpy())

    def test_they_survive_a_cache_of_arrays(self, record: Record) -> None:
        found = record(optimizer=ADAM)
        again = ExpertTrajectories.of_arrays(found.arrays())
        assert again.manifest == found.manifest
        assert torch.equal(again.state(1, 3), found.state(1, 3))
        assert torch.equal(again.memory(1, 3).vectors, found.memory(1, 3).vectors)


class TestReplay:
    """The identity that matching rests on: an expert's own batches and rate lead to its target."""

    @pytest.mark.parametrize("expert", [0, 1])
    def test_plain_steps_on_the_kept_batches_reach_the_kept_states(
        self, record: Record, make_expert_model: Make, expert: int
    ) -> None:
        found = record(optimizer=SGD)
        expert_model = make_expert_model()
        for start in range(3):
            nn.utils.vector_to_parameters(
                found.state(expert, start), expert_model.module.parameters()
            )
            for batch in found.batches[expert, 2 * start : 2 * start + 2]:
                gradients = squared_error(expert_model, batch)
                with torch.no_grad():
                    for parameter, gradient in zip(
                        expert_model.module.parameters(), gradients, strict=True
                    ):
                        parameter -= 0.1 * gradient
            reached = nn.utils.parameters_to_vector(expert_model.module.parameters())
            torch.testing.assert_close(reached, found.state(expert, start + 1))

    def test_momentum_goes_on_from_its_kept_buffer(
        self, record: Record, make_expert_model: Make
    ) -> None:
        found = record(optimizer=MOMENTUM)
        expert_model = make_expert_model()
        theta, buffer = found.state(0, 1), found.memory(0, 1).vectors[0]
        for batch in found.batches[0, 2:6]:
            nn.utils.vector_to_parameters(theta, expert_model.module.parameters())
            gradient = torch.cat([g.flatten() for g in squared_error(expert_model, batch)])
            buffer = 0.9 * buffer + gradient
            theta = theta - 0.1 * buffer
        torch.testing.assert_close(theta, found.state(0, 3))
        torch.testing.assert_close(buffer, found.memory(0, 3).vectors[0])

    def test_adam_goes_on_from_its_kept_moments(
        self, record: Record, make_expert_model: Make
    ) -> None:
        """Against the formulas of Kingma and Ba 2015, algorithm 1."""
        found = record(optimizer=ADAM)
        expert_model = make_expert_model()
        theta, memory = found.state(1, 1), found.memory(1, 1)
        (first, second), step = memory.vectors, memory.step
        for batch in found.batches[1, 2:6]:
            nn.utils.vector_to_parameters(theta, expert_model.module.parameters())
            gradient = torch.cat([g.flatten() for g in squared_error(expert_model, batch)])
            step += 1
            first = 0.8 * first + 0.2 * gradient
            second = 0.95 * second + 0.05 * gradient**2
            root = (second / (1 - 0.95**step)).sqrt() + 1e-7
            theta = theta - 0.01 * first / (1 - 0.8**step) / root
        torch.testing.assert_close(theta, found.state(1, 3))
        torch.testing.assert_close(second, found.memory(1, 3).vectors[1])
        assert step == found.memory(1, 3).step == 6

    def test_adam_without_its_moments_would_miss_the_target(
        self, record: Record, make_expert_model: Make
    ) -> None:
        found = record(optimizer=ADAM)
        expert_model = make_expert_model()
        expert_model.put(found.state(0, 1))
        fresh = torch.optim.Adam(
            expert_model.module.parameters(), 0.01, betas=(0.8, 0.95), eps=1e-7
        )
        for batch in found.batches[0, 2:4]:
            fresh.zero_grad()
            expert_model.accumulate(batch)
            fresh.step()
        assert (expert_model.weights - found.state(0, 2)).abs().max() > 1e-3

    def test_dropout_is_off_and_the_manifest_says_so(
        self, record: Record, make_expert_model: Make, tmp_path: Path
    ) -> None:
        """With dropout in the student the same replay would miss."""
        expert_model = make_expert_model(dropout=0.5)
        expert_model.module.train()
        found = record(expert_model, optimizer=SGD)
        plain = record(make_expert_model(), tmp_path / "plain", optimizer=SGD)
        assert torch.equal(found.state(1, 3), plain.state(1, 3))
        assert json.loads((tmp_path / "experts/manifest.json").read_text())["dropout"] == "off"
        expert_model.module.train()
        expert_model.put(found.state(0, 0))
        batch = found.batches[0, 0]
        step = expert_model.gradient(batch)[0]
        expert_model.module.eval()
        assert not torch.allclose(step, expert_model.gradient(batch)[0])


class TestBatchesAndLosses:
    def test_every_row_is_seen_equally_often_and_no_batch_is_short(self, record: Record) -> None:
        found = record(steps=10, every=5, batch_size=4)
        assert found.batches.shape == (2, 10, 4)
        for expert in found.batches:
            assert (np.bincount(expert.ravel(), minlength=10) == 4).all()
            assert all(len(np.unique(epoch)) == 10 for epoch in expert.reshape(4, 10))
        assert not np.array_equal(*found.batches)

    def test_a_set_smaller_than_a_batch_is_one_batch(
        self, record: Record, make_expert_model: Make
    ) -> None:
        found = record(make_expert_model(points=3), batch_size=8)
        assert found.batches.shape == (2, 6, 3)

    def test_losses_are_those_of_the_batches_before_the_update(
        self, record: Record, make_expert_model: Make
    ) -> None:
        found = record(optimizer=SGD)
        expert_model = make_expert_model()
        for state in range(3):
            expert_model.put(found.state(1, state))
            expected = float(expert_model.accumulate(found.batches[1, 2 * state]))
            assert found.losses[1, 2 * state] == pytest.approx(expected)

    def test_experts_learn(self, record: Record) -> None:
        """All points in every batch, so that the loss is the same function at every step."""
        found = record(batch_size=10, optimizer=SGD)
        assert (np.diff(found.losses, axis=1) < 0).all()

    def test_the_seed_draws_the_order(self, record: Record, tmp_path: Path) -> None:
        orders = [
            record(folder=tmp_path / str(i), seed=seed).batches for i, seed in enumerate((0, 0, 1))
        ]
        assert np.array_equal(orders[0], orders[1])
        assert not np.array_equal(orders[0], orders[2])


class TestBadInput:
    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"model": "other"}, "model: m and other"),
            ({"data": "other"}, "data: d and other"),
            ({"seed": 5}, "seed: 0 and 5"),
            ({"optimizer": ADAM}, "optimizer"),
            ({"steps": 8}, "steps: 6 and 8"),
        ],
    )
    def test_other_experts_are_never_mixed_in(
        self, record: Record, changes: dict[str, Any], field: str
    ) -> None:
        record()
        with pytest.raises(UsageError, match=f"holds other expert trajectories: {field}"):
            record(**changes)

    def test_another_initialisation_is_refused(
        self, record: Record, make_expert_model: Make
    ) -> None:
        record(make_expert_model())
        with pytest.raises(UsageError, match="initial"):
            record(make_expert_model(seed=1))

    def test_an_expert_that_does_not_move_is_an_error(
        self, record: Record, make_expert_model: Make
    ) -> None:
        """A rate so small that float32 does not notice it."""
        with pytest.raises(HarnessError, match="expert 0 did not move between states 0 and 1"):
            record(optimizer=ExpertOptimizer("sgd", 1e-30))

    def test_a_diverging_expert_is_reported_and_the_learner_is_as_before(
        self, record: Record, make_expert_model: Make
    ) -> None:
        expert_model = make_expert_model()
        before = expert_model.weights
        with pytest.raises(DivergenceError, match=r"expert 0 diverged with learning rate 1e\+30"):
            record(expert_model, optimizer=ExpertOptimizer("sgd", 1e30))
        assert torch.equal(expert_model.weights, before)

    @pytest.mark.parametrize(
        "wrong",
        [
            lambda: ExpertOptions(steps=7, every=2),
            lambda: ExpertOptions(experts=0),
            lambda: ExpertOptimizer("lion"),  # type: ignore[arg-type]
            lambda: ExpertOptimizer("sgd", 0.0),
            lambda: ExpertOptimizer("sgd", 0.1, momentum=1.0),
            lambda: ExpertOptimizer("adam", 0.1, momentum=0.9),
        ],
    )
    def test_impossible_settings_are_refused(self, wrong: Callable[[], object]) -> None:
        with pytest.raises(UsageError):
            wrong()

    def test_a_half_precision_model_is_refused(self, make_expert_model: Make) -> None:
        expert_model = make_expert_model()
        expert_model.module.to(torch.bfloat16)
        with pytest.raises(UsageError, match=r"float32 parameters, got torch\.bfloat16"):
            ExpertModel(expert_model.module, expert_model.layout, expert_model.accumulate, 10)

    def test_a_damaged_folder_is_an_error(self, record: Record, tmp_path: Path) -> None:
        record()
        with (tmp_path / "experts/states.bin").open("ab") as file:
            file.write(b"x")
        with pytest.raises(HarnessError, match=r"states\.bin does not have"):
            record()
        with pytest.raises(UsageError, match="there is no folder of expert trajectories"):
            ExpertTrajectories.read(tmp_path)
