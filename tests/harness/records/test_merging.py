"""Several folders as one board: runs count once, and folders that contradict each other do not."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import harness
from harness.errors import UsageError
from harness.leaderboard.board import build_board
from harness.leaderboard.formats.markdown import Markdown
from harness.records.curves import Curve
from harness.records.failure import Failure
from harness.records.merging import conflicts, load_merged
from harness.records.record import PackedArray, Record


def fill(folder: Path, records: Sequence[Record], failures: Sequence[Failure] = ()) -> Path:
    for kind, documents in (("records", records), ("failures", failures)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for document in documents:
            (folder / kind / f"{document.key}.json").write_bytes(document.to_json())
    return folder


def elsewhere(record: Record, created: str = "2026-02-02T00:00:00+00:00") -> Record:
    """The same run as another machine computes it later."""
    made = replace(record.provenance, processor="another processor", cores=64, created=created)
    costs = replace(record.costs, fit=replace(record.costs.fit, seconds=0.25))
    curves = {"fit: loss": Curve((1,), (0.123,))}
    return replace(record, provenance=made, costs=costs, curves=curves)


class TestDistinctRuns:
    def test_seeds_of_two_machines_make_one_row(self, tmp_path: Path, make_record: Any) -> None:
        first, second, third = make_record.seeds("random", [0.5, 0.6, 0.7])
        one = fill(tmp_path / "one", [first, second])
        two = fill(tmp_path / "two", [elsewhere(third)])
        results = harness.load_results(one, str(two))
        (row,) = build_board(results).tables[0].rows
        assert row.score is not None
        assert (row.score.n, row.score.mean) == (3, pytest.approx(0.6))
        assert results.notes == ()

    def test_the_footer_lists_both_machines(self, tmp_path: Path, make_record: Any) -> None:
        first, second = make_record.seeds("random", [0.5, 0.6])
        folders = [fill(tmp_path / "one", [first]), fill(tmp_path / "two", [elsewhere(second)])]
        facts = {fact.name: fact.text for fact in build_board(load_merged(folders)).facts}
        assert facts["hardware"] == (
            "a processor, 2 cores, 2 threads, cpu; another processor, 64 cores, 2 threads, cpu"
        )

    @pytest.mark.parametrize("field", ["fingerprint", "test_fingerprint"])
    def test_other_data_under_the_same_name_is_refused(
        self, tmp_path: Path, make_record: Any, field: str
    ) -> None:
        first, second = make_record.seeds("random", [0.5, 0.6])
        other = replace(second, task=replace(second.task, **{field: "0" * 64}))
        folders = [fill(tmp_path / "one", [first]), fill(tmp_path / "two", [other])]
        with pytest.raises(UsageError, match="cannot stand in one table"):
            build_board(load_merged(folders))

    def test_another_protocol_is_refused(self, tmp_path: Path, make_record: Any) -> None:
        first, second = make_record.seeds("random", [0.5, 0.6])
        other = replace(second, protocol="protocol-b")
        folders = [fill(tmp_path / "one", [first]), fill(tmp_path / "two", [other])]
        with pytest.raises(UsageError, match="protocol"):
            build_board(load_merged(folders))


class TestTheSameRun:
    def test_equal_records_count_once_and_in_silence(
        self, tmp_path: Path, make_record: Any
    ) -> None:
        record = make_record("random")
        folders = [fill(tmp_path / name, [record]) for name in "ab"]
        results = load_merged(folders)
        assert (results.records, results.notes, results.problems) == ((record,), (), ())

    def test_a_folder_named_twice_is_read_once(self, tmp_path: Path, make_record: Any) -> None:
        folder = fill(tmp_path / "a", [make_record("random")])
        (folder / "records" / "broken.json").write_text("{")
        (tmp_path / "link").symlink_to(folder)
        results = load_merged([folder, tmp_path / "link", tmp_path / "a" / ".." / "a"])
        assert (len(results), len(results.problems)) == (1, 1)

    def test_of_two_that_cost_differently_the_earliest_counts_and_that_is_said(
        self, tmp_path: Path, make_record: Any
    ) -> None:
        record = make_record("random")
        one, two = fill(tmp_path / "one", [record]), fill(tmp_path / "two", [elsewhere(record)])
        for folders in ([one, two], [two, one]):
            results = load_merged(folders)
            assert results.records == (record,)
            (note,) = results.notes
            assert note.startswith("1 records are of runs that another folder has too")
            assert "costs and curves and provenance" in note
            name = f"records/{record.key}.json"
            assert note.endswith(f"as {one / name} instead of {two / name}")

    def test_the_order_of_the_folders_changes_no_byte_of_the_board(
        self, tmp_path: Path, make_record: Any
    ) -> None:
        records = make_record.seeds("random", [0.5, 0.6, 0.7])
        same_time = [elsewhere(r, created=r.provenance.created) for r in records]
        folders = [
            fill(tmp_path / "a", records, [make_record.failure("dilm", message="one")]),
            fill(tmp_path / "b", same_time[1:], [make_record.failure("dilm", message="two")]),
            fill(tmp_path / "c", [elsewhere(records[0])], [make_record.failure("herding")]),
        ]
        (tmp_path / "b/records/broken.json").write_text("{")
        loaded = [load_merged(order) for order in itertools.permutations(folders)]
        assert all(results == loaded[0] for results in loaded)
        assert len({Markdown().render(build_board(results)) for results in loaded}) == 1
        assert len(loaded[0].failures) == 2

    def test_an_array_packed_by_another_zlib_is_the_same_array(
        self, tmp_path: Path, make_record: Any
    ) -> None:
        import base64
        import zlib

        record = make_record("random")
        score = record.items["score"].unpack()
        stored = base64.b64encode(zlib.compress(score.tobytes(), 0)).decode()
        repacked = PackedArray("uint8", len(score), stored)
        other = replace(record, items={**record.items, "score": repacked})
        assert other != record
        assert conflicts(record, other) == []
        folders = [fill(tmp_path / "a", [record]), fill(tmp_path / "b", [other])]
        assert load_merged(folders).notes == ()

    @pytest.mark.parametrize(
        "field", ["metrics", "items", "distilled", "tuning", "task", "main", "recipe", "protocol"]
    )
    def test_two_that_contradict_each_other_are_one_error_with_both_names(
        self, tmp_path: Path, make_record: Any, field: str
    ) -> None:
        record = make_record("random")
        zeros = PackedArray.pack(np.zeros(200, dtype=np.uint8))
        changes: dict[str, Any] = {
            "metrics": {**record.metrics, "accuracy": 0.1},
            "items": {**record.items, "score": zeros},
            "distilled": replace(record.distilled, content="0" * 64),
            "tuning": replace(record.tuning, chosen=5e-5),
            "task": replace(record.task, fingerprint="0" * 64),
            "main": "macro_f1",
            "recipe": {**record.recipe, "steps": 1},
            "protocol": "b",
        }
        one = fill(tmp_path / "one", [record])
        two = fill(tmp_path / "two", [replace(record, **{field: changes[field]})])
        messages = set()
        for folders in ([one, two], [two, one]):
            with pytest.raises(UsageError, match=rf"differ in {field}\n") as caught:
                load_merged(folders)
            messages.add(caught.value.message)
        (message,) = messages
        assert str(one / "records") in message
        assert str(two / "records") in message

    def test_a_run_that_failed_in_one_folder_and_succeeded_in_another_did_not_fail(
        self, tmp_path: Path, make_record: Any
    ) -> None:
        record = make_record("dilm")
        one = fill(tmp_path / "one", [record])
        two = fill(tmp_path / "two", [], [make_record.failure(key=record.key)])
        assert load_merged([two, one]).failures == ()


class TestBadFolders:
    @pytest.mark.parametrize("name", ["nowhere", "empty"])
    def test_one_bad_folder_is_named(self, tmp_path: Path, make_record: Any, name: str) -> None:
        (tmp_path / "empty").mkdir()
        good = fill(tmp_path / "good", [make_record("random")])
        with pytest.raises(UsageError, match=name):
            load_merged([good, tmp_path / name])

    def test_problems_of_all_folders_are_kept(self, tmp_path: Path, make_record: Any) -> None:
        first, second = make_record.seeds("random", [0.5, 0.6])
        folders = [fill(tmp_path / "a", [first]), fill(tmp_path / "b", [second])]
        for folder in folders:
            (folder / "records/broken.json").write_text("{")
        found = [problem.path.parent.parent for problem in load_merged(folders).problems]
        assert found == folders
