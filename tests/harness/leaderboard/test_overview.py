"""What several tables say together: only of methods that have every table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.leaderboard.board import Board, build_board
from harness.leaderboard.formats.json_format import Json
from harness.leaderboard.formats.markdown import Markdown
from harness.leaderboard.formats.terminal import Terminal
from harness.leaderboard.stats import estimate_mean
from harness.records.results import Results

LEVELS = {
    "sst2": {"random": 0.60, "herding": 0.65, "dilm": 0.70},
    "mnli": {"random": 0.40, "herding": 0.50, "dilm": 0.45},
    "qqp": {"random": 0.55, "herding": 0.60, "dilm": 0.65},
}


def board_of(*groups: Any) -> Board:
    return build_board(Results(tuple(record for group in groups for record in group)))


@pytest.fixture
def three_tasks(make_record: Any) -> list[Any]:
    return [
        make_record.seeds(method, [level, level + 0.02], task=task)
        for task, levels in LEVELS.items()
        for method, level in levels.items()
    ]


class TestRankings:
    def test_ranks_are_averaged_over_tasks_best_first(self, three_tasks: list[Any]) -> None:
        (ranking,) = board_of(*three_tasks).rankings
        assert ranking.methods == ("dilm", "herding", "random")
        assert ranking.result.ranks == pytest.approx((4 / 3, 5 / 3, 3))
        assert ranking.tasks == ("mnli", "qqp", "sst2")
        assert ranking.left_out == ()

    def test_a_method_that_lacks_a_task_is_left_out_and_named(
        self, three_tasks: list[Any], make_record: Any
    ) -> None:
        (ranking,) = board_of(*three_tasks, make_record.seeds("k-means", [0.9, 0.9])).rankings
        assert "k-means" not in ranking.methods
        assert ranking.left_out == ("k-means",)

    def test_an_incomplete_row_does_not_count(
        self, three_tasks: list[Any], make_record: Any
    ) -> None:
        partial = [make_record.seeds("k-means", [0.9], task=task) for task in LEVELS]
        (ranking,) = board_of(*three_tasks, *partial).rankings
        assert "k-means" not in ranking.methods

    def test_the_reference_is_not_ranked(self, three_tasks: list[Any], make_record: Any) -> None:
        full = [make_record.seeds("full", [0.9, 0.9], task=t, budget="100%") for t in LEVELS]
        (ranking,) = board_of(*three_tasks, *full).rankings
        assert ranking.methods == ("dilm", "herding", "random")

    def test_one_task_or_two_methods_have_no_ranking(self, make_record: Any) -> None:
        one = [make_record.seeds(m, [0.5, 0.6]) for m in ("random", "herding", "dilm")]
        two = [make_record.seeds(m, [0.5], task=t) for m in ("random", "dilm") for t in LEVELS]
        assert board_of(*one).rankings == ()
        assert board_of(*two).rankings == ()


class TestTransfer:
    @pytest.fixture
    def two_students(self, make_record: Any) -> Board:
        values = {"bert:minilm": [0.70, 0.72], "roberta": [0.60, 0.66], "xlnet": [0.50, 0.51]}
        return board_of(
            *(
                make_record.seeds("dilm", scores, student=s, options={"proxy": "bert:minilm"})
                for s, scores in values.items()
            ),
            *(make_record.seeds("random", [0.5, 0.5], student=s) for s in values),
            make_record.seeds("herding", [0.9, 0.9], student="roberta"),
        )

    def test_students_that_no_distiller_names_are_held_out(self, two_students: Board) -> None:
        (transfer,) = two_students.transfers
        assert transfer.held_out == {"roberta", "xlnet"}

    def test_methods_that_have_seen_a_student_are_named(self, two_students: Board) -> None:
        (transfer,) = two_students.transfers
        assert transfer.seen_by == {"bert:minilm": ("dilm",)}
        assert "bert:minilm is seen by dilm; a student" in Terminal().render(two_students)

    def test_a_probe_is_seen_by_whoever_names_the_student_inside(self, make_record: Any) -> None:
        (transfer,) = board_of(
            *(
                make_record.seeds("dilm", [0.6, 0.7], student=s, options={"generator": "lm:small"})
                for s in ("bert", "probe:lm:small", "probe:lm:large")
            )
        ).transfers
        assert transfer.held_out == {"bert", "probe:lm:large"}

    def test_the_mean_is_over_held_out_students_seed_by_seed(self, two_students: Board) -> None:
        (transfer,) = two_students.transfers
        row = next(row for row in transfer.rows if row.method == "dilm")
        assert row.held_out == estimate_mean([0.55, np.mean([0.66, 0.51])])

    def test_a_missing_student_leaves_no_mean(self, two_students: Board) -> None:
        (transfer,) = two_students.transfers
        assert transfer.rows[-1].method == "herding"
        assert transfer.rows[-1].held_out is None

    def test_one_student_has_no_transfer(self, make_record: Any) -> None:
        assert board_of(make_record.seeds("dilm", [0.5, 0.6])).transfers == ()

    @pytest.mark.parametrize("made", [Terminal, Markdown])
    def test_people_read_it_under_the_tables(self, two_students: Board, made: type) -> None:
        text = made().render(two_students)
        assert "transfer · sst2 · 10/class" in text
        assert "roberta % (held out)" in text

    def test_programs_read_it_too(self, two_students: Board) -> None:
        assert '"held_out": [\n    "roberta",\n    "xlnet"\n   ]' in Json().render(two_students)


@pytest.mark.parametrize("made", [Terminal, Markdown])
def test_people_read_the_average_ranks(three_tasks: list[Any], made: type) -> None:
    text = made().render(board_of(*three_tasks))
    assert "average rank over 3 tasks" in text
    assert "critical difference" in text
