"""Distillers whose sets hold arrays of their own, on which they train a student themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import harness
from harness.api import BenchResult
from toy_paths import TOY_PLUGIN, TOY_SUITE

Bench = Callable[..., BenchResult]


def test_the_student_is_trained_on_the_arrays_under_the_same_recipe(run_toy: Bench) -> None:
    results = run_toy(distillers=["hidden"]).results
    hidden, whole = (results.filter(distiller=name).records for name in ("hidden", "everything"))
    assert [r.value for r in hidden] == [r.value for r in whole]
    assert {r.distilled.produces for r in hidden} == {"arrays"}
    assert {r.recipe["steps"] for r in hidden} == {5}
    assert {r.budget for r in hidden} == {"4/class"}


def test_the_arrays_count_as_bytes_and_as_content(run_toy: Bench) -> None:
    results = run_toy(distillers=["hidden", "first"]).results
    hidden, first = (results.filter(distiller=name).records[0] for name in ("hidden", "first"))
    train = hidden.task.rows["train"]
    assert hidden.distilled.bytes == first.distilled.bytes + 4 * train
    assert hidden.distilled.content != first.distilled.content


@pytest.mark.parametrize(
    ("how", "message"), [("nothing", "arrays, since it trains"), ("nan", "finite numbers")]
)
def test_arrays_are_there_and_finite(run_toy: Bench, how: str, message: str) -> None:
    failures = run_toy(distillers=[f"hidden:{how}"]).outcome.failures
    assert {(f.stage, f.error) for f in failures} == {("distill", "ContractError")}
    assert all(message in f.message for f in failures)


def test_an_exported_set_has_them_in_a_file(tmp_path: Path) -> None:
    done = harness.distill(
        distiller="hidden", suite=TOY_SUITE, export=tmp_path / "set", output=tmp_path / "run",
        plugins=[TOY_PLUGIN], device="cpu",
    )  # fmt: skip
    stored = load_file(tmp_path / "set" / "arrays.safetensors")["rows"]
    assert done.distilled is not None
    np.testing.assert_array_equal(stored, done.distilled.data.arrays["rows"])
