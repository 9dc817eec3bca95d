"""A claim about a method needs sets that differ; where there is one, it is placed among draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.stats

from harness.leaderboard.board import Board, build_board
from harness.leaderboard.formats.json_format import Json
from harness.leaderboard.formats.markdown import Markdown
from harness.leaderboard.stats import prediction_interval
from harness.leaderboard.table import Row
from harness.records.results import Results

RANDOM = [0.60, 0.63, 0.66, 0.61, 0.65]


def board_of(*groups: Any) -> Board:
    return build_board(Results(tuple(record for group in groups for record in group)))


def row_of(board: Board, name: str) -> Row:
    (row,) = [row for row in board.tables[0].rows if row.distiller == name]
    return row


def test_the_prediction_interval_is_that_of_one_more_value() -> None:
    found = prediction_interval(RANDOM)
    assert found is not None
    spread = np.std(RANDOM, ddof=1) * np.sqrt(1 + 1 / 5)
    low, high = scipy.stats.t.interval(0.95, 4, loc=np.mean(RANDOM), scale=spread)
    assert (found.low, found.high) == pytest.approx((low, high))
    assert prediction_interval([0.5]) is None


def test_it_covers_the_next_value_as_often_as_it_says() -> None:
    draws = np.random.default_rng(0).normal(0.6, 0.03, size=(2000, 6))
    covered = [prediction_interval(list(row[:5])).covers(row[5]) for row in draws]  # type: ignore[union-attr]
    assert abs(np.mean(covered) - 0.95) < 0.015


@pytest.mark.parametrize(
    ("score", "where", "beaten"), [(0.75, "above", 5), (0.62, "within", 2), (0.5, "below", 0)]
)
def test_one_set_is_placed_and_not_judged(
    make_record: Any, score: float, where: str, beaten: int
) -> None:
    spread = [score - 0.005, score, score + 0.005, score, score]
    board = board_of(
        make_record.seeds("herding", spread, one_set=True), make_record.seeds("random", RANDOM)
    )
    row = row_of(board, "herding")
    assert row.comparison is not None
    assert row.comparison.placement is not None
    assert (row.comparison.verdict, row.comparison.p_adjusted) == (None, None)
    placement = row.comparison.placement
    assert (placement.where, placement.beaten, placement.draws) == (where, beaten, 5)
    assert placement.interval == prediction_interval(RANDOM)
    text = Markdown().render(board)
    assert f"one set, {where}" in text
    assert f"beats {beaten} of its 5" in text
    assert f'"one_set": "{where}"' in Json().render(board)


def test_it_takes_no_place_among_the_ranks_of_methods(make_record: Any) -> None:
    methods = [make_record.seeds(name, RANDOM) for name in ("random", "dilm")]
    board = board_of(*methods, make_record.seeds("herding", [0.8] * 5, one_set=True))
    assert row_of(board, "herding").rank == 1
    assert row_of(board, "herding").rank_interval is None
    interval = row_of(board, "dilm").rank_interval
    assert interval is not None
    assert (interval.low, interval.high) == (1, 2)


def test_a_baseline_of_one_set_judges_nothing(make_record: Any) -> None:
    board = board_of(
        make_record.seeds("dilm", [0.8, 0.81, 0.82]),
        make_record.seeds("random", [0.6, 0.61, 0.62], one_set=True),
    )
    comparison = row_of(board, "dilm").comparison
    assert comparison is not None
    assert (comparison.verdict, comparison.placement) == (None, None)


def test_the_whole_split_is_no_draw(make_record: Any) -> None:
    def whole(name: str, values: list[float]) -> Any:
        return make_record.seeds(name, values, budget="100%", one_set=True)

    board = board_of(whole("full", [0.6, 0.61, 0.62]), whole("taught", [0.7, 0.715, 0.72]))
    comparison = row_of(board, "taught").comparison
    assert comparison is not None
    assert comparison.verdict == "better"


class TestNull:
    """Boards on which nothing is better than random: at most one in twenty may say otherwise."""

    BOARDS = 150

    def verdicts(self, board: Board) -> set[str]:
        found = {r.comparison.verdict for r in board.tables[0].rows if r.comparison}
        return found & {"better", "worse"}

    def test_random_under_ten_other_names(self, make_record: Any) -> None:
        generator = np.random.default_rng(0)
        false = 0
        for _ in range(self.BOARDS):
            scores = generator.normal(0.65, 0.03, size=(11, 5)).clip(0, 1)
            names = ["random", *(f"copy-{number}" for number in range(10))]
            rows = [make_record.seeds(n, list(s)) for n, s in zip(names, scores, strict=True)]
            false += bool(self.verdicts(board_of(*rows)))
        assert scipy.stats.binomtest(false, self.BOARDS, 0.05, alternative="greater").pvalue > 0.05

    def test_twenty_random_sets_entered_as_methods_of_one_set_each(self, make_record: Any) -> None:
        """Fits of one set differ by less than sets do: each looked like a method of its own."""
        generator = np.random.default_rng(1)
        placed = []
        for _ in range(20):
            sets = generator.normal(0.65, 0.03, size=20)
            rows = [make_record.seeds("random", list(generator.normal(0.65, 0.03, size=8)))]
            for number, mean in enumerate(sets):
                fits = list(generator.normal(mean, 0.003, size=8))
                rows.append(make_record.seeds(f"set-{number}", fits, one_set=True))
            board = board_of(*rows)
            assert not self.verdicts(board)
            placed += [
                row.comparison.placement.where
                for row in board.tables[0].rows
                if row.comparison and row.comparison.placement
            ]
        assert len(placed) == 400
        assert np.mean([where != "within" for where in placed]) < 0.1
