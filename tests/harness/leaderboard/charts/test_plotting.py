"""Charts: what they draw of a board, and the files they are drawn into."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.drawing import PALETTE
from harness.errors import UsageError
from harness.leaderboard.board import Board, build_board
from harness.leaderboard.charts.documents import colours, points
from harness.leaderboard.charts.plotting import PLOTS, draw, plot
from harness.records.results import Results

pytest.importorskip("vl_convert")


def board_of(*groups: Any) -> Board:
    return build_board(Results(tuple(record for group in groups for record in group)))


@pytest.fixture
def board(make_record: Any) -> Board:
    budgets = (("10/class", 0.0), ("20/class", 0.1))
    return board_of(
        *(
            make_record.seeds(method, [level + gain] * 2, budget=budget, distill_seconds=seconds)
            for method, level, seconds in (("random", 0.5, 0.1), ("herding", 0.6, 9.0))
            for budget, gain in budgets
        ),
        make_record.seeds("full", [0.9, 0.9], budget="100%"),
    )


@pytest.fixture
def tasks(make_record: Any) -> Board:
    levels = {"random": 0.5, "herding": 0.6, "dilm": 0.7}
    return board_of(
        *(
            make_record.seeds(method, [level, level], task=task)
            for task in ("sst2", "mnli")
            for method, level in levels.items()
        )
    )


def marks(svg: str) -> int:
    return svg.count("aria-roledescription")


@pytest.mark.parametrize("kind", ["scores", "budget", "cost", "parameters", "heatmap"])
@pytest.mark.parametrize("ending", ["svg", "png", "pdf"])
def test_a_chart_of_one_table_is_drawn_into_a_file(
    board: Board, tmp_path: Path, kind: str, ending: str
) -> None:
    path = tmp_path / f"chart.{ending}"
    draw(plot(board, kind), path)
    starts = {"svg": b"<svg", "png": b"\x89PNG", "pdf": b"%PDF"}
    assert path.read_bytes().startswith(starts[ending])


def test_a_drawing_names_every_method(board: Board, tmp_path: Path) -> None:
    draw(plot(board, "scores"), tmp_path / "scores.svg")
    svg = (tmp_path / "scores.svg").read_text()
    for label in ("herding @ 10/class", "herding @ 20/class", "full @ 100%"):
        assert label in svg


def test_only_methods_that_none_beats_are_on_the_front(board: Board, tmp_path: Path) -> None:
    """The front's line has a corner at each of its points: random at 20, herding at 20, full."""
    spec = plot(board, "cost")
    transforms = spec["layer"][0]["transform"]
    assert [name for step in transforms for name in step if name in ("window", "filter")] == [
        "window", "window", "filter",
    ]  # fmt: skip
    draw(spec, tmp_path / "cost.svg")
    assert "herding" in (tmp_path / "cost.svg").read_text()


class TestParameters:
    @pytest.fixture
    def sizes(self, make_record: Any) -> Board:
        """Two students, of which one method makes the smaller still smaller."""

        def sized(record: Any, parameters: int) -> Any:
            return replace(record, student=replace(record.student, parameters=parameters))

        made = (
            ("random", "clip:tiny", 0.5, 300_000),
            ("random", "clip:small", 0.6, 1_000_000),
            ("tinyclip", "clip:tiny", 0.55, 200_000),
        )
        return board_of(
            [
                sized(record, parameters)
                for method, student, level, parameters in made
                for record in make_record.seeds(method, [level, level + 0.02], student=student)
            ]
        )

    def test_are_those_of_each_row_s_own_models(self, sizes: Board) -> None:
        found = {(p["method"], p["student"]): p["parameters"] for p in points(sizes)}
        assert found == {
            ("random", "clip:tiny"): 300_000,
            ("random", "clip:small"): 1_000_000,
            ("tinyclip", "clip:tiny"): 200_000,
        }

    def test_students_of_one_task_share_a_chart(self, sizes: Board, tmp_path: Path) -> None:
        spec = plot(sizes, "parameters")
        assert spec["encoding"]["x"]["axis"]["values"] == [200_000, 300_000, 1_000_000]
        draw(spec, tmp_path / "parameters.svg")
        svg = (tmp_path / "parameters.svg").read_text()
        for text in ("tinyclip", "clip:small", "300k", "1.00M"):
            assert text in svg

    def test_several_tasks_need_a_choice(self, tasks: Board) -> None:
        with pytest.raises(UsageError, match="shows one task, these records have mnli, sst2"):
            plot(tasks, "parameters")


def test_ranks_are_drawn_over_tasks(tasks: Board, tmp_path: Path) -> None:
    draw(plot(tasks, "ranks"), tmp_path / "ranks.svg")
    svg = (tmp_path / "ranks.svg").read_text()
    assert "dilm (1.00)" in svg
    assert "critical difference" in svg


def test_the_heat_map_takes_tasks_where_there_is_one_student(tasks: Board) -> None:
    assert plot(tasks, "heatmap")["encoding"]["x"]["field"] == "task"


def test_a_heat_map_of_many_tasks_and_many_students_needs_a_choice(make_record: Any) -> None:
    board = board_of(
        *(
            make_record.seeds("dilm", [0.5, 0.6], task=task, student=student)
            for task in ("sst2", "mnli")
            for student in ("bert:minilm", "roberta")
        )
    )
    with pytest.raises(UsageError, match="2 tasks and 2 students"):
        plot(board, "heatmap")


def test_several_tables_need_a_choice(tasks: Board) -> None:
    with pytest.raises(UsageError, match="shows one table"):
        plot(tasks, "cost")


def test_too_little_for_ranks_is_said(board: Board) -> None:
    with pytest.raises(UsageError, match="two tasks and three methods"):
        plot(board, "ranks")


def test_a_board_without_complete_rows_has_nothing_to_draw(make_record: Any) -> None:
    partial = build_board(Results((make_record("dilm"),)), expected=[(0, 0), (1, 0)])
    with pytest.raises(UsageError, match="complete"):
        plot(partial, "scores")


def test_unknown_charts_and_endings_are_refused(board: Board, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown plot"):
        plot(board, "pie")
    with pytest.raises(UsageError, match=r"svg, png, pdf"):
        draw(plot(board, "scores"), tmp_path / "chart.gif")


def test_a_folder_that_is_not_there_is_said(board: Board, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        draw(plot(board, "scores"), tmp_path / "none" / "chart.svg")


def test_a_method_keeps_its_colour_and_the_baseline_has_none() -> None:
    found = colours(["random", "dilm", "herding"], neutral={"random"})
    assert found["random"] not in PALETTE
    assert found["dilm"] == colours(["dilm", "herding"], neutral=())["dilm"]


def test_incomplete_rows_have_no_point(make_record: Any) -> None:
    board = build_board(Results((*make_record.seeds("random", [0.5, 0.6]), make_record("dilm"))))
    assert {point["method"] for point in points(board)} == {"random"}


def test_every_plot_has_a_name() -> None:
    assert set(PLOTS) == {"scores", "budget", "cost", "parameters", "heatmap", "ranks"}
