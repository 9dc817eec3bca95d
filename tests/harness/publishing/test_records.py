"""Records as a data set: `datasets` reads it back, offline, as it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset, load_dataset

from harness.errors import UsageError
from harness.leaderboard.board import build_board
from harness.leaderboard.formats.markdown import Markdown
from harness.publishing.records import export_results
from harness.records.record import PackedArray, Record
from harness.records.results import Results

HOSTILE = 'a"b\\c: #\n\x7f 😀 | `x`'


def read_back(folder: Path, cache: Path) -> Dataset:
    return load_dataset(str(folder), cache_dir=str(cache))["train"]


def exported(records: list[Record], tmp_path: Path) -> Dataset:
    export_results(Results(tuple(records)), tmp_path / "out")
    return read_back(tmp_path / "out", tmp_path / "cache")


class TestData:
    def test_the_frame_and_the_items_come_back(self, tmp_path: Path, make_record: Any) -> None:
        records = make_record.seeds("random", [0.5, 0.625, 0.75])
        rows = exported(records, tmp_path)
        frame = Results(tuple(records)).to_pandas()
        for column in frame.columns:
            assert rows[column][:] == frame[column].tolist(), column
        for name in ("score", "prediction"):
            expected = [record.items[name].unpack().tolist() for record in records]
            assert rows[f"items_{name}"][:] == expected

    def test_types_are_the_smallest_that_hold_every_record(
        self, tmp_path: Path, make_record: Any
    ) -> None:
        plain, other = make_record.seeds("random", [0.5, 0.6])
        halves = np.full(200, 0.5, dtype=np.float32)
        right = np.arange(200) < 100
        rows = exported(
            [
                replace(plain, items={"score": PackedArray.pack(right)}),
                replace(other, items={"score": PackedArray.pack(halves)}),
            ],
            tmp_path,
        )
        assert rows.features["items_score"].feature.dtype == "float32"
        assert rows["items_score"][:] == [right.astype(float).tolist(), halves.tolist()]

    def test_what_a_record_has_not_is_null(self, tmp_path: Path, make_record: Any) -> None:
        poor, rich = make_record.seeds("random", [0.5, 0.6])
        poor = replace(poor, items={"score": poor.items["score"]}, metrics={"accuracy": 0.5})
        rows = exported([poor, rich], tmp_path)
        assert rows["metric_macro_f1"][:] == [None, 0.6]
        assert rows["items_prediction"][0] is None
        assert len(rows["items_prediction"][1]) == 200

    def test_more_records_than_one_row_group_keep_their_order(
        self, tmp_path: Path, make_record: Any
    ) -> None:
        few = make_record.seeds("random", [0.5, 0.6])
        records = [replace(few[n % 2], key=f"{n:05}") for n in range(2001)]
        rows = exported(records, tmp_path)
        assert rows["key"][:] == [record.key for record in records]
        assert rows["value"][:] == [record.value for record in records]

    def test_a_metric_with_a_hostile_name_is_only_a_name(
        self, tmp_path: Path, make_record: Any
    ) -> None:
        record = make_record("random", metrics={"accuracy": 0.5, HOSTILE: 0.25})
        assert exported([record], tmp_path)[f"metric_{HOSTILE}"][:] == [0.25]


class TestCard:
    def test_it_says_how_the_records_were_made_and_shows_their_board(
        self, tmp_path: Path, make_record: Any
    ) -> None:
        results = Results(tuple(make_record.seeds("random", [0.5, 0.6])))
        export_results(results, tmp_path / "out")
        text = (tmp_path / "out/README.md").read_text(encoding="utf-8")
        assert text.startswith("---\nconfigs:\n- config_name: default\n")
        assert Markdown().render(build_board(results)) in text
        assert "    harness bench\n" in text
        assert "# Benchmark records: quickstart v1\n" in text

    def test_records_without_a_common_board_are_exported_all_the_same(
        self, tmp_path: Path, make_record: Any
    ) -> None:
        first, second = make_record.seeds("random", [0.5, 0.6])
        rows = exported([first, replace(second, protocol="b")], tmp_path)
        assert len(rows) == 2
        text = (tmp_path / "out/README.md").read_text(encoding="utf-8")
        assert "These records have no common board" in text
        assert "protocol" in text

    def test_what_a_suite_or_command_is_called_adds_no_markup(
        self, tmp_path: Path, make_record: Any
    ) -> None:
        record = make_record("random", suite="<script>\n---\n# x")
        made = replace(record.provenance, command="harness bench\n\n# not a heading")
        export_results(Results((replace(record, provenance=made),)), tmp_path / "out")
        text = (tmp_path / "out/README.md").read_text(encoding="utf-8")
        assert "<script>" not in text
        assert text.count("\n---\n") == 1
        assert "\n# not a heading" not in text


class TestRefusals:
    @pytest.mark.parametrize("occupied", ["file in it", "a file"])
    def test_a_place_that_is_taken(self, tmp_path: Path, make_record: Any, occupied: str) -> None:
        out = tmp_path / "out"
        if occupied == "a file":
            out.write_text("mine")
        else:
            out.mkdir()
            (out / "mine").write_text("mine")
        with pytest.raises(UsageError, match="is not empty"):
            export_results(Results((make_record("random"),)), out)
        assert "mine" in (out if out.is_file() else out / "mine").read_text()

    def test_an_empty_folder_is_no_hindrance(self, tmp_path: Path, make_record: Any) -> None:
        (tmp_path / "out").mkdir()
        assert len(exported([make_record("random")], tmp_path)) == 1

    def test_no_records(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="no records to export"):
            export_results(Results(()), tmp_path / "out")
        assert not (tmp_path / "out").exists()
