"""A recording that dies at any moment ends as if it had not."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.errors import HarnessError
from harness.kit.trajectories.experts import ExpertOptimizer, ExpertTrajectories

Record = Callable[..., ExpertTrajectories]
ADAM = ExpertOptimizer("adam", 0.01)
MOMENTUM = ExpertOptimizer("sgd", 0.1, momentum=0.9)


def die_at_sync(number: int, work: Callable[[], Any]) -> bool:
    """Runs `work` in a child that kills itself at its n-th sync; whether it came so far."""
    child = os.fork()
    if child:
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])
    synced, count = os.fsync, 0

    def dying(descriptor: int) -> None:
        nonlocal count
        count += 1
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)
        synced(descriptor)

    os.fsync = dying
    try:
        work()
    finally:
        os._exit(0)


def require_equal(one: ExpertTrajectories, other: ExpertTrajectories) -> None:
    assert one.manifest == other.manifest
    for name, array in one.arrays().items():
        np.testing.assert_array_equal(array, other.arrays()[name], err_msg=name)


SYNCS = 7 + 2 * 3 + 6 * 5
"""Files and manifest; two first states; six later states with losses and batches."""


@pytest.mark.parametrize(
    ("optimizer", "moments"),
    [(ADAM, range(1, SYNCS + 1, 6)), (MOMENTUM, [24, 43])],
    ids=["adam", "momentum"],
)
def test_killed_at_a_sync_it_ends_with_the_same_bits(
    record: Record,
    tmp_path: Path,
    optimizer: ExpertOptimizer,
    moments: Sequence[int],
) -> None:
    """A later state has five syncs, so every sixth meets each kind."""
    attempt = partial(record, optimizer=optimizer)
    undisturbed = attempt(folder=tmp_path / "undisturbed")
    for moment in moments:
        folder = tmp_path / str(moment)
        assert die_at_sync(moment, partial(attempt, folder=folder))
        require_equal(attempt(folder=folder), undisturbed)
    assert not die_at_sync(SYNCS + 1, partial(attempt, folder=tmp_path / "whole"))


def test_killed_again_and_again_it_still_ends(record: Record, tmp_path: Path) -> None:
    """Every attempt lives for a state or two."""
    undisturbed = record(folder=tmp_path / "undisturbed", optimizer=ADAM)
    folder, attempts = tmp_path / "again", 0
    while die_at_sync(15, lambda: record(folder=folder, optimizer=ADAM)):
        attempts += 1
    assert attempts > 2
    require_equal(ExpertTrajectories.read(folder), undisturbed)


def test_a_finished_recording_computes_nothing(
    record: Record, make_expert_model: Callable[..., Any]
) -> None:
    first = record()
    expert_model = make_expert_model()

    def never(rows: np.ndarray) -> torch.Tensor:
        raise AssertionError("computed again")

    object.__setattr__(expert_model, "accumulate", never)
    require_equal(record(expert_model), first)


def test_what_is_not_finished_is_not_read(record: Record, tmp_path: Path) -> None:
    assert die_at_sync(20, lambda: record())
    with pytest.raises(HarnessError, match="holds 0 of 2 experts and 2 of 4 states of the next"):
        ExpertTrajectories.read(tmp_path / "experts")
