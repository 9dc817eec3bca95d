"""Rows on the whole train split, and rows on nothing: whom they are compared with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import scipy.stats

from harness.leaderboard.board import Board, build_board
from harness.leaderboard.formats.terminal import Terminal
from harness.leaderboard.table import Row
from harness.records.record import Record
from harness.records.results import Results

PLAIN = [0.610, 0.645, 0.630]
TAUGHT = [0.700, 0.735, 0.715]


def board_of(*groups: list[Record]) -> Board:
    return build_board(Results(tuple(record for group in groups for record in group)))


def rows_of(board: Board) -> dict[str, Row]:
    return {row.distiller: row for row in board.tables[0].rows}


def as_reference(records: list[Record]) -> list[Record]:
    return [
        replace(record, distiller=replace(record.distiller, reference=True)) for record in records
    ]


@pytest.fixture
def plain(make_record: Any) -> list[Record]:
    return make_record.seeds("full", PLAIN, budget="100%")


@pytest.fixture
def taught(make_record: Any) -> list[Record]:
    return make_record.seeds("tinyclip", TAUGHT, budget="100%")


def test_a_model_method_is_tested_against_plain_training(
    plain: list[Record], taught: list[Record]
) -> None:
    comparison = rows_of(board_of(plain, taught))["tinyclip"].comparison
    assert comparison is not None
    assert comparison.baseline == "full"
    p_value = scipy.stats.ttest_rel(TAUGHT, PLAIN).pvalue
    assert comparison.difference.p_value == pytest.approx(p_value)


def test_a_baseline_at_that_budget_goes_before(
    make_record: Any, plain: list[Record], taught: list[Record]
) -> None:
    drawn = make_record.seeds("random", PLAIN, budget="100%")
    comparison = rows_of(board_of(plain, taught, drawn))["tinyclip"].comparison
    assert comparison is not None
    assert comparison.baseline == "random"


def test_one_column_names_all_opponents(
    make_record: Any, plain: list[Record], taught: list[Record]
) -> None:
    both = board_of(
        plain, taught, make_record.seeds("random", PLAIN), make_record.seeds("dilm", TAUGHT)
    )
    text = Terminal().render(both)
    assert "vs random / full" in text
    assert "paired by seed with full or random at the same budget" in " ".join(text.split())
    alone = Terminal().render(board_of(plain, taught))
    assert alone.count("vs full") == 1


def test_a_reference_has_no_rank_no_test_and_takes_no_place(
    make_record: Any, plain: list[Record], taught: list[Record]
) -> None:
    teacher = as_reference(make_record.seeds("teacher", [0.9, 0.9, 0.91], budget="100%"))
    rows = rows_of(board_of(plain, taught, teacher))
    assert (rows["teacher"].rank, rows["teacher"].comparison) == (None, None)
    assert rows["tinyclip"].rank == 1


def test_an_untrained_row_adds_nothing_to_the_recipe(make_record: Any, plain: list[Record]) -> None:
    recipe = {**make_record().recipe, "steps": 0}
    base = as_reference(make_record.seeds("base", [0.5] * 3, budget="0%", recipe=recipe))
    facts = {fact.name: fact.text for fact in board_of(plain, base).tables[0].facts}
    assert "steps 0" not in facts["recipe"]
    assert facts == {fact.name: fact.text for fact in board_of(plain).tables[0].facts} | {
        "items": facts["items"]
    }
