"""Records read back from a folder: nothing is lost silently, and nothing is taken on trust."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.errors import StoreError, UsageError
from harness.record import PackedArray
from harness.results import Failure, Results, load_records


@pytest.fixture
def folder(tmp_path: Path, make_record: Any) -> Path:
    """Three records of `random` and one failure of `dilm`."""
    for record in make_record.seeds("random", [0.6, 0.7, 0.8]):
        write(tmp_path, "records", record.key, record.to_json())
    failure = make_record.failure()
    write(tmp_path, "failures", failure.key, failure.to_json())
    return tmp_path


def write(folder: Path, kind: str, key: str, content: bytes) -> Path:
    path = folder / kind / f"{key}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


class TestLoading:
    def test_records_and_failures_come_back_as_they_were(
        self, folder: Path, make_record: Any
    ) -> None:
        results = load_records(folder)
        expected = sorted(make_record.seeds("random", [0.6, 0.7, 0.8]), key=lambda r: r.key)
        assert list(results) == expected
        assert results.failures == (make_record.failure(),)
        assert results.problems == ()

    def test_a_missing_folder_is_one_clear_error(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="no results folder"):
            load_records(tmp_path / "nowhere")

    def test_an_empty_folder_is_one_clear_error(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="holds no records"):
            load_records(tmp_path)

    def test_a_store_that_starts_may_be_empty(self, tmp_path: Path) -> None:
        assert load_records(tmp_path / "nowhere", missing_ok=True) == Results(())

    def test_a_write_in_progress_is_not_a_record(self, folder: Path) -> None:
        (folder / "records" / ".half.json").write_bytes(b"{")
        assert load_records(folder).problems == ()

    def test_a_failure_that_was_made_good_is_forgotten(
        self, folder: Path, make_record: Any
    ) -> None:
        record = make_record("dilm", key=make_record.failure().key)
        write(folder, "records", record.key, record.to_json())
        assert load_records(folder).failures == ()


class TestDamagedFiles:
    @pytest.mark.parametrize(
        "content", [b"", b"{", b"[]", b"null", b"{}", b"\xff\xfe", b'{"schema": 1}']
    )
    def test_what_is_not_a_record_is_a_problem_and_the_rest_is_read(
        self, folder: Path, content: bytes
    ) -> None:
        path = write(folder, "records", "broken", content)
        results = load_records(folder)
        assert len(results) == 3
        assert [problem.path for problem in results.problems] == [path]
        assert "broken.json" in results.problems[0].reason

    @pytest.mark.parametrize("content", [b"{", b"{}", b"[1]"])
    def test_what_is_not_a_failure_is_a_problem(self, folder: Path, content: bytes) -> None:
        path = write(folder, "failures", "broken", content)
        assert [problem.path for problem in load_records(folder).problems] == [path]

    def test_a_half_written_record_is_a_problem(self, folder: Path, make_record: Any) -> None:
        record = make_record("dilm")
        write(folder, "records", record.key, record.to_json()[:-200])
        assert len(load_records(folder).problems) == 1

    def test_a_record_under_another_name_is_a_problem(self, folder: Path, make_record: Any) -> None:
        write(folder, "records", "copy", make_record("random").to_json())
        results = load_records(folder)
        assert len(results) == 3
        assert "holds the key" in results.problems[0].reason

    def test_a_record_of_a_newer_schema_is_a_problem(self, folder: Path, make_record: Any) -> None:
        record = make_record("dilm", schema=99)
        write(folder, "records", record.key, record.to_json())
        assert "schema 99" in load_records(folder).problems[0].reason

    @pytest.mark.parametrize("literal", ["NaN", "Infinity", "1e999"])
    def test_a_score_that_is_not_a_number_is_a_problem(
        self, folder: Path, make_record: Any, literal: str
    ) -> None:
        record = make_record("dilm", 0.7125)
        content = record.to_json().replace(b"0.7125", literal.encode())
        write(folder, "records", record.key, content)
        assert "not a finite number" in load_records(folder).problems[0].reason

    def test_a_record_without_its_main_metric_is_a_problem(
        self, folder: Path, make_record: Any
    ) -> None:
        record = make_record("dilm", main="f1")
        write(folder, "records", record.key, record.to_json())
        assert "main metric 'f1'" in load_records(folder).problems[0].reason

    def test_a_budget_that_is_none_is_a_problem(self, folder: Path, make_record: Any) -> None:
        record = make_record("dilm", budget="lots")
        write(folder, "records", record.key, record.to_json())
        assert "budget 'lots'" in load_records(folder).problems[0].reason

    @pytest.mark.parametrize("data", ["AAAA", "not base64!", "eJwDAAAAAAE="])
    def test_item_outcomes_that_do_not_unpack_are_a_problem(
        self, folder: Path, make_record: Any, data: str
    ) -> None:
        record = make_record("dilm", items={"score": PackedArray("uint8", 200, data)})
        write(folder, "records", record.key, record.to_json())
        assert "damaged item outcomes 'score'" in load_records(folder).problems[0].reason

    def test_a_folder_in_the_place_of_a_record_is_a_problem(self, folder: Path) -> None:
        (folder / "records" / "folder.json").mkdir()
        assert len(load_records(folder).problems) == 1


class TestFailure:
    def test_it_survives_the_disk(self, make_record: Any) -> None:
        failure = make_record.failure(message="line\nüñí", trace="somewhere")
        assert Failure.from_json(failure.to_json(), where="here") == failure

    def test_an_unknown_stage_is_refused(self, make_record: Any) -> None:
        document = json.loads(make_record.failure().to_json())
        document["stage"] = "lunch"
        with pytest.raises(StoreError, match="not a complete failure"):
            Failure.from_json(json.dumps(document).encode(), where="here")


class TestSelecting:
    @pytest.fixture
    def results(self, make_record: Any) -> Results:
        records = [
            make_record("random"),
            make_record("dilm", student="bert:tiny"),
            make_record("dilm", task="qqp", suite="glue", budget="5/class"),
        ]
        return Results(tuple(records), (make_record.failure("dilm"),))

    @pytest.mark.parametrize(
        ("wanted", "count"),
        [
            ({}, 3),
            ({"distiller": "dilm"}, 2),
            ({"student": "bert"}, 3),
            ({"student": "bert:tiny"}, 1),
            ({"task": ["qqp", "sst2"]}, 3),
            ({"task": "qqp", "distiller": "random"}, 0),
            ({"budget": "5/class"}, 1),
            ({"suite": "glue"}, 1),
            ({"evaluator": "zero-shot"}, 0),
        ],
    )
    def test_every_given_field_must_match(
        self, results: Results, wanted: dict[str, Any], count: int
    ) -> None:
        assert len(results.filter(**wanted)) == count

    def test_failures_are_filtered_with_the_records(self, results: Results) -> None:
        assert results.filter(distiller="dilm").failures == results.failures
        assert results.filter(distiller="random").failures == ()

    def test_by_key(self, results: Results) -> None:
        keys = [results.records[1].key, results.failures[0].key]
        chosen = results.only(keys)
        assert (chosen.records, chosen.failures) == (results.records[1:2], results.failures)


class TestFrame:
    def test_one_flat_row_for_each_record(self, make_record: Any) -> None:
        records = make_record.seeds("random", [0.6, 0.7])
        frame = Results(tuple(records)).to_pandas()
        assert list(frame["value"]) == [0.6, 0.7]
        assert list(frame["distill_seed"]) == [0, 1]
        assert set(frame["metric_accuracy"]) == {0.6, 0.7}
        assert all(pd.api.types.is_scalar(cell) for cell in frame.iloc[0])

    def test_a_metric_that_only_some_have_is_absent_for_the_others(self, make_record: Any) -> None:
        plain = make_record("random")
        richer = replace(make_record("dilm"), metrics={"accuracy": 0.5, "f1": 0.4})
        column = Results((plain, richer)).to_pandas()["metric_f1"]
        assert math.isnan(column[0])
        assert column[1] == 0.4
