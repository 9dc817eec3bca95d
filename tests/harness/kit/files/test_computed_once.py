"""Arrays that a killed run finds again: whole or not at all, and never computed twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.kit.files.computed_once import computed_once


def test_the_first_call_computes_and_the_others_read(tmp_path: Path) -> None:
    path = tmp_path / "work" / "numbers.safetensors"
    calls = []

    def compute() -> dict[str, np.ndarray]:
        calls.append(1)
        return {"a": np.arange(6.0).reshape(2, 3).T, "b/c": np.array([True])}

    first, second = computed_once(path, compute), computed_once(path, compute)
    assert len(calls) == 1
    for found in (first, second):
        np.testing.assert_array_equal(found["a"], np.arange(6.0).reshape(2, 3).T)
        assert found["b/c"].tolist() == [True]


def test_a_computation_that_fails_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "numbers.safetensors"

    def killed() -> dict[str, np.ndarray]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        computed_once(path, killed)
    assert list(tmp_path.iterdir()) == []
    assert computed_once(path, lambda: {"a": np.ones(1)})["a"].tolist() == [1.0]


def test_what_a_kill_left_of_a_file_is_not_taken_for_it(tmp_path: Path) -> None:
    path = tmp_path / "numbers.safetensors"
    path.with_suffix(".123.partial").write_bytes(b"half of it")
    assert computed_once(path, lambda: {"a": np.ones(1)})["a"].tolist() == [1.0]
