"""The Python interface: its keywords, and the board of records that were read back."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import pytest

import harness
from harness.api import BenchResult
from harness.leaderboard.formats.json_format import Json
from harness.planning.request import Request
from harness.records.results import Results


def test_every_part_of_a_request_is_a_keyword_of_bench() -> None:
    parts = {field.name for field in dataclasses.fields(Request)}
    assert parts <= inspect.signature(harness.bench).parameters.keys()


@pytest.mark.parametrize(
    ("call", "wrong", "meant"),
    [
        (lambda: harness.bench(distiler=["k-means"]), "distiler", "distillers"),
        (lambda: harness.bench(output_dir="x"), "output_dir", ""),
        (lambda: harness.distill("k-means", export="x", budgets=["1%"]), "budgets", "budget"),
    ],
)
def test_a_misspelt_keyword_is_refused_before_anything_runs(
    call: Callable[[], Any], wrong: str, meant: str
) -> None:
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{wrong}'") as refusal:
        call()
    assert f"Did you mean {meant}" in str(refusal.value) or not meant


def test_a_bench_passes_every_keyword_on(run_toy: Callable[..., BenchResult]) -> None:
    result = run_toy(distillers=["first"], budgets=["2/class"], seeds=[5], threads=1)
    assert {cell.distiller.label for cell in result.plan.cells} == {"first", "seeded", "everything"}
    assert {cell.distill_seed for cell in result.plan.cells} == {5}
    assert {str(cell.budget) for cell in result.plan.cells} == {"2/class", "100%"}


def test_a_board_is_made_of_results(make_record: Any) -> None:
    records = [
        *make_record.seeds("random", [0.5, 0.6]),
        *make_record.seeds("k-means", [0.6, 0.8]),
    ]
    board = harness.board(Results(tuple(records)), baseline="k-means")
    (table,) = board.tables
    assert (table.baseline, table.rows[0].distiller) == ("k-means", "k-means")
    assert "k-means" in Json().render(board)
