"""The formats: what they print, and that hostile names stay text in each of them."""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from harness.leaderboard.board import Board, build_board
from harness.leaderboard.formats.check import differences
from harness.leaderboard.formats.delimited import Csv
from harness.leaderboard.formats.escaping import markdown, printable, spreadsheet
from harness.leaderboard.formats.json_format import Json
from harness.leaderboard.formats.markdown import Markdown
from harness.leaderboard.formats.terminal import Terminal, print_tables, rich_tables
from harness.records.record import Cost, Costs
from harness.records.results import Results

FORMATS = [Terminal, Markdown, Csv, Json]
HOSTILE = (
    "=HYPERLINK(1)|<script>alert(1)</script>\x1b[31m\x1b]0;title\x07"
    "[red]![x](http://evil)\n# head\u202e\u200b@all `code` \\ "
)


def board_of(*groups: Any, **options: Any) -> Board:
    return build_board(Results(tuple(record for group in groups for record in group)), **options)


@pytest.fixture(scope="session")
def board(make_record: Any) -> Board:
    records = [
        *make_record.seeds("random", [0.610, 0.645, 0.630]),
        *make_record.seeds("dilm", [0.700, 0.735, 0.715], distill_seconds=83.21),
        *make_record.seeds("vanilla-lm", [0.6, 0.61]),
        *make_record.seeds("flat", [0.5] * 3, predictions=np.zeros(200, dtype=np.uint8)),
        *make_record.seeds("full", [0.87, 0.88, 0.875], budget="100%", one_set=True),
    ]
    return build_board(Results(tuple(records)))


def table_lines(text: str, name: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if f"{name} @" in line]


class TestTerminal:
    def test_a_row_reads_rank_name_n_score_difference_p_verdict(self, board: Board) -> None:
        score, cost = table_lines(Terminal().render(board), "dilm")
        assert " ".join(score) == ("1 dilm @ 10/class 3 71.7 ± 4.4 +8.8 [+8.1, +9.6] <0.001 better")
        assert " ".join(cost) == "dilm @ 10/class 1 -15.8 0.2543 1.8 20 2.4 83.2 1.0 1,200"

    def test_an_incomplete_row_shows_how_much_is_there_and_no_number(self, board: Board) -> None:
        score = table_lines(Terminal().render(board), "vanilla-lm")[0]
        assert " ".join(score) == "– vanilla-lm @ 10/class 2/3 – – – –"

    def test_a_difference_that_rounds_to_nothing_has_no_minus(self, make_record: Any) -> None:
        records = [make_record("random", 0.7), make_record("dilm", 0.6999)]
        assert table_lines(Terminal().render(board_of(records)), "dilm")[0][6] == "+0.0"

    def test_the_reference_and_degenerate_rows_are_marked(self, board: Board) -> None:
        text = Terminal().render(board)
        assert table_lines(text, "full")[0][0] == "ref"
        assert "50.0 ± 0.0 †" in text
        assert "flat @ 10/class †: predicts one and the same class in 3 of 3 runs" in text

    def test_text_for_a_file_has_no_escape_codes_and_no_trailing_space(self, board: Board) -> None:
        text = Terminal().render(board)
        assert "\x1b" not in text
        assert not re.search(r"[ \t]$", text, re.MULTILINE)

    @pytest.mark.parametrize("width", [40, 80, 200])
    def test_a_console_gets_tables_that_fit_it(self, board: Board, width: int) -> None:
        console = Console(file=io.StringIO(), width=width)
        print_tables(board, console)
        lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
        assert max(map(len, lines)) <= width

    def test_colours_are_for_consoles_that_have_them(self, board: Board) -> None:
        def printed(**options: Any) -> str:
            console = Console(file=io.StringIO(), width=120, **options)
            print_tables(board, console)
            return console.file.getvalue()  # type: ignore[attr-defined]

        coloured = printed(force_terminal=True, color_system="standard", no_color=False)
        assert "\x1b[32mbetter" in coloured
        assert "\x1b" not in printed(color_system=None)

    def test_each_table_has_a_score_table_and_a_cost_table(self, board: Board) -> None:
        assert [len(table.columns) for table in rich_tables(board)] == [7, 10]
        assert [len(table.columns) for table in rich_tables(board, cost=False)] == [7, 7]

    def test_runs_of_several_fits_show_sets_times_fits(self, make_record: Any) -> None:
        grid = [make_record("dilm", distill_seed=d, fit_seed=f) for d in (0, 1) for f in range(3)]
        assert "2×3" in Terminal().render(board_of(grid))
        ragged = [
            make_record("dilm", distill_seed=d, fit_seed=f) for d, f in [(0, 0), (0, 1), (1, 0)]
        ]
        assert "2 (3 runs)" in Terminal().render(board_of(ragged))

    def test_device_memory_has_a_column_where_there_was_any(self, make_record: Any) -> None:
        costs = Costs(Cost(1, 10**9, 3 * 10**9), Cost(1, 10**9), Cost(1, 10**9))
        assert "device MB" in Terminal().render(board_of([make_record(costs=costs)]))
        assert "device MB" not in Terminal().render(board_of([make_record()]))


class TestMarkdown:
    def test_every_line_of_a_table_has_as_many_cells(self, board: Board) -> None:
        lines = [line for line in Markdown().render(board).splitlines() if line.startswith("|")]
        assert len(lines) == 2 + 5
        assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {17}

    def test_a_row_reads_as_in_the_terminal(self, board: Board) -> None:
        assert (
            "| 1 | dilm @ 10/class | 3 | 71.7 ± 4.4 | +8.8 [+8.1, +9.6] | <0.001 | better |"
            in Markdown().render(board)
        )

    def test_the_level_of_the_heading_can_be_chosen(self, board: Board) -> None:
        assert Markdown(level=2).render(board).startswith("## sst2 · bert:minilm")


class TestCsv:
    @staticmethod
    def read(text: str) -> dict[str, dict[str, str]]:
        return {line["distiller"]: line for line in csv.DictReader(io.StringIO(text))}

    def test_numbers_are_fractions_of_six_places(self, board: Board) -> None:
        line = self.read(Csv().render(board))["dilm"]
        assert float(line["mean"]) == pytest.approx(0.716667, abs=1e-9)
        assert float(line["difference_low"]) == pytest.approx(0.081162, abs=1e-9)
        assert (line["rank"], line["n"], line["verdict"]) == ("1", "3", "better")
        assert line["data"].startswith("sst2 v1, fingerprint ffffffffffff")

    def test_what_was_not_measured_is_empty(self, board: Board) -> None:
        line = self.read(Csv().render(board))["vanilla-lm"]
        assert {line[name] for name in ("rank", "mean", "difference", "distill_seconds")} == {""}
        assert (line["runs"], line["expected_runs"]) == ("2", "3")

    def test_negative_numbers_stay_numbers(self, board: Board) -> None:
        assert float(self.read(Csv().render(board))["flat"]["difference"]) < 0


class TestJson:
    def test_it_holds_every_row_with_nulls_where_nothing_was_measured(self, board: Board) -> None:
        (table,) = json.loads(Json().render(board))["tables"]
        rows = {row["distiller"]: row for row in table["rows"]}
        assert rows["dilm"]["mean"] == 0.716667
        assert rows["vanilla-lm"]["mean"] is None
        assert rows["full"]["is_reference"] is True
        assert table["facts"]["seeds"] == "distilling 0, 1, 2; fitting 0"

    def test_any_name_survives_unchanged(self, make_record: Any) -> None:
        document = json.loads(Json().render(board_of([make_record(HOSTILE)])))
        assert document["tables"][0]["rows"][0]["distiller"] == HOSTILE


class TestEveryFormat:
    @pytest.mark.parametrize("made", FORMATS)
    def test_without_cost_it_does_not_depend_on_the_machine(
        self, make_record: Any, made: type
    ) -> None:
        records = make_record.seeds("random", [0.6, 0.65]) + make_record.seeds("dilm", [0.7, 0.8])
        slower = [
            replace(
                record,
                costs=Costs(Cost(99, 7, 8), Cost(98, 6, 5), Cost(97, 5, 4)),
                provenance=replace(
                    record.provenance,
                    processor="another",
                    cores=64,
                    threads=64,
                    device="cuda",
                    commit="ffffffffffff",
                    dirty=True,
                    packages={"torch": "3.0"},
                    created="2030-12-31T00:00:00+00:00",
                ),
            )
            for record in records
        ]
        assert made(cost=False).render(board_of(records)) == made(cost=False).render(
            board_of(slower)
        )
        assert made().render(board_of(records)) != made().render(board_of(slower))

    @pytest.mark.parametrize("made", FORMATS)
    def test_columns_of_plugins_are_shown(self, board: Board, made: type) -> None:
        text = made().render(board.with_columns([{"kg CO2": {"dilm @ 10/class": "0.25"}}]))
        assert "kg CO2" in text
        assert "0.25" in text

    @pytest.mark.parametrize("made", FORMATS)
    def test_it_ends_with_one_newline(self, board: Board, made: type) -> None:
        text = made().render(board)
        assert text.endswith("\n")
        assert not text.endswith("\n\n")

    @pytest.mark.parametrize("made", FORMATS)
    def test_a_hostile_name_stays_text(self, make_record: Any, made: type) -> None:
        hostile = board_of([make_record(HOSTILE, task=HOSTILE, student=HOSTILE)])
        text = made().render(hostile.with_columns([{HOSTILE: {f"{HOSTILE} @ 10/class": HOSTILE}}]))
        controls = {c for c in text if unicodedata.category(c) in ("Cc", "Cf")}
        assert controls <= {"\n"}
        if made is Markdown:
            assert "<script>" not in text
            assert "http://" not in text
            assert not re.search(r"(?<!\\)\]\(", text)
            assert {
                len(re.findall(r"(?<!\\)\|", line))
                for line in text.splitlines()
                if line.startswith("|")
            } == {18}
        if made is Csv:
            lines = list(csv.reader(io.StringIO(text)))
            assert not [cell for line in lines for cell in line if cell.startswith("=")]
        if made is Terminal:
            assert "[red]" in text


class TestEscaping:
    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("plain", "plain"),
            ("\x1b[1;31mred\x1b[0m", "red"),
            ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x07", "link"),
            ("\x9b31mred", "red"),
            ("a\r\nb\tc", "a b c"),
            ("right\u202eleft\u2066\u200b\ufeff", "rightleft"),
            ("nul\x00bell\x07", "nulbell"),
            ("žluťoučký 猫", "žluťoučký 猫"),
        ],
    )
    def test_what_is_printable(self, text: str, shown: str) -> None:
        assert printable(text) == shown

    @settings(max_examples=200)
    @given(st.text())
    def test_printed_text_is_one_line_without_controls(self, text: str) -> None:
        shown = printable(text)
        assert not {unicodedata.category(c) for c in shown} & {"Cc", "Cf", "Cs", "Co", "Cn"}
        assert len(shown.splitlines()) <= 1

    @pytest.mark.parametrize(
        ("text", "safe"),
        [
            ("a|b", r"a\|b"),
            ("a\\|b", r"a\\\|b"),
            ("<b>&amp;", "&lt;b&gt;&amp;amp;"),
            ("[x](https://y)", r"\[x\](https&#58;//y)"),
            ("www.evil.com", "www&#46;evil.com"),
            ("@someone #12", r"&#64;someone \#12"),
            ("*bold* _it_ snake_case", r"\*bold\* \_it\_ snake_case"),
            ("# heading", r"\# heading"),
            ("dilm @ 10/class", "dilm @ 10/class"),
        ],
    )
    def test_what_markdown_shows_as_it_is(self, text: str, safe: str) -> None:
        assert markdown(text) == safe

    @pytest.mark.parametrize(
        ("text", "safe"),
        [
            ("=1+1", "'=1+1"),
            ("+cmd", "'+cmd"),
            ("-2+3", "'-2+3"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'=1"),
            ("＝1", "'＝1"),
            ("\u200b=1", "'=1"),
            ("-2.5", "-2.5"),
            ("+3%", "+3%"),
            ("dilm", "dilm"),
        ],
    )
    def test_what_a_spreadsheet_may_see(self, text: str, safe: str) -> None:
        assert spreadsheet(text) == safe


class TestCheck:
    def test_equal_boards_have_no_differences(self, board: Board) -> None:
        text = Markdown(cost=False).render(board)
        assert differences(text, text) == ""

    def test_a_changed_line_is_shown_both_ways(self) -> None:
        diff = differences("a\nb\n", "a\nc\n")
        assert diff == "--- committed\n+++ made anew\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n"

    @pytest.mark.parametrize("committed", ["a\r\n", "a"])
    def test_line_ends_count(self, committed: str) -> None:
        assert "only the line ends differ" in differences(committed, "a\n")
