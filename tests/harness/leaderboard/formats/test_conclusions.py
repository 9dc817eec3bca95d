"""The words that a board opens with."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import scipy.stats

from harness.leaderboard.board import Board, build_board
from harness.leaderboard.formats.conclusions import conclusions
from harness.leaderboard.formats.json_format import Json
from harness.leaderboard.formats.markdown import Markdown
from harness.leaderboard.formats.terminal import Terminal
from harness.leaderboard.page.payload import payload
from harness.leaderboard.stats import seeds_to_tell
from harness.records.results import Results

RANDOM = [0.60, 0.63, 0.66, 0.61, 0.65]


def gaining(*gains: float) -> list[float]:
    return [score + gain for score, gain in zip(RANDOM, gains, strict=True)]


@pytest.fixture
def board(make_record: Any) -> Board:
    groups = [
        make_record.seeds("random", RANDOM),
        make_record.seeds("good", gaining(0.10, 0.11, 0.10, 0.09, 0.10)),
        make_record.seeds("bad", gaining(-0.20, -0.21, -0.20, -0.19, -0.20)),
        make_record.seeds("open", gaining(0.10, -0.02, 0.05, 0.0, 0.02)),
        make_record.seeds("hopeless", gaining(-0.10, 0.02, -0.05, 0.0, -0.02)),
        make_record.seeds("fixed", [0.9] * 5, one_set=True),
    ]
    return build_board(Results(tuple(record for group in groups for record in group)))


def test_they_say_what_is_better_worse_and_open_and_what_would_settle_it(board: Board) -> None:
    better, worse, unsettled, placed, price = conclusions(board.tables[0], cost=True)
    assert better == "Better than random at 10/class: good (+10.0, +9.1 to +10.9)."
    assert worse == "Worse: bad (-20.0, -20.9 to -19.1)."
    assert unsettled.startswith("No evidence either way: open (+3.0, ")
    assert "hopeless (-3.0, " in unsettled
    assert placed == (
        "One set each, which says nothing of a method's other sets: fixed (+27.0, above draws"
        " of random)."
    )
    spread = np.std([0.10, -0.02, 0.05, 0.0, 0.02], ddof=1)
    seeds = seeds_to_tell(0.03 / spread, 0.05 / 4, 0.8)
    assert seeds is not None
    minutes = round((seeds - 5) * 2 * 3.0 / 60)  # two rows of two and one seconds a seed
    assert price == (
        f"If open gains what was seen, {seeds} seeds show it with 80% power: {seeds - 5} more of"
        f" it and of random, about {minutes} min."
    )


def test_minutes_differ_between_machines_so_a_board_without_costs_leaves_them_out(
    board: Board,
) -> None:
    assert not any("min." in text for text in conclusions(board.tables[0], cost=False))


def test_where_nothing_is_shown_that_is_said_first(make_record: Any) -> None:
    groups = [make_record.seeds("random", RANDOM), make_record.seeds("same", RANDOM)]
    board = build_board(Results(tuple(record for group in groups for record in group)))
    first, second = conclusions(board.tables[0], cost=True)
    assert first == "Nothing is shown to be better than random at 10/class."
    assert second == "No evidence either way: same (+0.0, +0.0 to +0.0)."


def test_a_table_without_comparisons_says_nothing(make_record: Any) -> None:
    board = build_board(Results(tuple(make_record.seeds("dilm", RANDOM))))
    assert conclusions(board.tables[0], cost=True) == ()


def test_every_format_for_people_and_programs_opens_with_them(board: Board) -> None:
    first = conclusions(board.tables[0], cost=True)[0]
    markdown = Markdown().render(board)
    assert markdown.index("Better than random at 10/class: good") < markdown.index("| # |")
    assert Terminal().render(board).splitlines()[1] == first
    assert json.loads(Json().render(board))["tables"][0]["conclusions"][0] == first
    assert payload(board)["tables"][0]["by_metric"]["accuracy"]["conclusions"][0] == first


@pytest.mark.parametrize("effect", [0.4, -0.9, 2.0])
@pytest.mark.parametrize("alpha", [0.05, 0.005])
def test_the_seeds_asked_for_have_the_power_and_one_fewer_has_not(
    effect: float, alpha: float
) -> None:
    def power(n: int) -> float:
        shifted = scipy.stats.nct(n - 1, effect * np.sqrt(n))
        bound = scipy.stats.t.isf(alpha / 2, n - 1)
        return shifted.sf(bound) + shifted.cdf(-bound)

    n = seeds_to_tell(effect, alpha, 0.8)
    assert n is not None
    assert power(n) >= 0.8 > power(n - 1)


def test_the_power_is_what_simulated_seeds_have() -> None:
    n = seeds_to_tell(1.0, 0.05, 0.8)
    assert n is not None
    draws = np.random.default_rng(0).normal(1.0, 1.0, size=(4000, n))
    found = scipy.stats.ttest_1samp(draws, 0.0, axis=1).pvalue < 0.05
    assert abs(found.mean() - 0.8) < 0.04


def test_a_difference_of_nearly_nothing_takes_too_many() -> None:
    assert seeds_to_tell(0.001, 0.05, 0.8) is None
