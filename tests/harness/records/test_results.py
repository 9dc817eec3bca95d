"""Records read back from a folder: nothing is lost silently, and nothing is taken on trust."""

from __future__ import annotations

import gc
import json
import math
import zlib
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.budget import Budget
from harness.errors import StoreError, UsageError
from harness.records.failure import Failure
from harness.records.reading import read_record
from harness.records.record import PackedArray, Record
from harness.records.results import Problem, Results, load_records


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

    @pytest.mark.parametrize("field", ["costs", "tuning"])
    def test_a_cost_or_rate_that_is_not_a_number_is_a_problem(
        self, folder: Path, make_record: Any, field: str
    ) -> None:
        document = json.loads(make_record("dilm").to_json())
        document["costs"]["fit"]["seconds"] = math.inf if field == "costs" else 1.0
        document["tuning"]["chosen"] = math.nan if field == "tuning" else 1e-4
        write(folder, "records", document["key"], json.dumps(document).encode())
        assert "not a finite number" in load_records(folder).problems[0].reason

    @pytest.mark.parametrize("key", ["../x", "..", "/etc/passwd", "a/b", "x\\..\\y", "", "x\0"])
    def test_a_key_that_would_lead_elsewhere_is_refused(
        self, folder: Path, make_record: Any, key: str
    ) -> None:
        write(folder, "records", "x", make_record("dilm", key=key).to_json())
        write(folder, "failures", "x", make_record.failure(key=key).to_json())
        results = load_records(folder)
        assert len(results) == 3
        assert [len(results.failures), len(results.problems)] == [1, 2]
        assert all("holds the key" in problem.reason for problem in results.problems)

    def test_a_record_without_its_schema_is_a_problem(self, folder: Path, make_record: Any) -> None:
        document = json.loads(make_record("dilm").to_json())
        del document["schema"]
        write(folder, "records", document["key"], json.dumps(document).encode())
        assert "'schema'" in load_records(folder).problems[0].reason

    def test_what_a_killed_write_left_behind_is_not_read(
        self, folder: Path, make_record: Any
    ) -> None:
        content = make_record("dilm").to_json()
        for kind in ("records", "failures"):
            (folder / kind / ".abc.json.123.partial").write_bytes(content[:-1])
        results = load_records(folder)
        assert (len(results), results.problems) == (3, ())

    def test_one_key_under_two_names_counts_once(self, folder: Path, make_record: Any) -> None:
        twice = make_record("random", 0.9)
        write(folder, "records", "second", twice.to_json())
        results = load_records(folder)
        assert len({record.key for record in results}) == len(results) == 3
        assert results.problems[0].path.name == "second.json"

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


class TestReading:
    @settings(max_examples=200)
    @given(cut=st.integers(0, 6000), junk=st.binary(max_size=3))
    def test_reading_fast_gives_what_reading_plainly_gives(
        self, make_record: Any, cut: int, junk: bytes
    ) -> None:
        """Whatever befalls a file, both ways read the same record or refuse it."""
        whole = make_record("dilm").to_json()
        text = whole[:cut] + junk + whole[cut + len(junk) :]
        plain = fast = None
        with suppress(StoreError):
            plain = Record.from_json(text, where="here")
        with suppress(StoreError):
            fast = read_record(text, where="here")
        assert fast is None or fast == plain
        assert plain is None or fast is not None or not is_usable(plain)

    @pytest.mark.parametrize("enabled", [True, False])
    def test_the_collector_is_left_as_it_was(self, folder: Path, enabled: bool) -> None:
        before = gc.isenabled()
        try:
            (gc.enable if enabled else gc.disable)()
            load_records(folder)
            assert gc.isenabled() is enabled
        finally:
            (gc.enable if before else gc.disable)()


def is_usable(record: Record) -> bool:
    """What a board needs of a record, said slowly."""
    try:
        Budget.parse(record.budget)
        for packed in record.items.values():
            packed.unpack()
    except (UsageError, StoreError, ValueError, zlib.error):
        return False
    seconds = [getattr(record.costs, name).seconds for name in ("distill", "fit", "evaluate")]
    numbers = [*record.metrics.values(), *seconds, record.tuning.chosen]
    return record.main in record.metrics and all(map(math.isfinite, numbers))


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
            ({"suite": ()}, 3),
            ({"budget": ["5/class", "100%"]}, 1),
        ],
    )
    def test_every_given_field_must_match(
        self, results: Results, wanted: dict[str, Any], count: int
    ) -> None:
        assert len(results.filter(**wanted)) == count

    @pytest.mark.parametrize(
        ("wanted", "message", "hint"),
        [
            ({"distiller": "rnadom"}, "unknown distiller 'rnadom'", "random"),
            ({"student": ["bert", "bert:tny"]}, "unknown student 'bert:tny'", "bert:tiny"),
            ({"task": "sst"}, "unknown task 'sst'", "sst2"),
            ({"evaluator": "zero-shot"}, "unknown evaluator 'zero-shot'", "classification"),
            ({"budget": "5/clas"}, "unknown budget '5/clas'", "5/class"),
            ({"suite": "gleu"}, "unknown suite 'gleu'", "glue"),
        ],
    )
    def test_a_name_that_nothing_has_is_an_error_with_a_suggestion(
        self, results: Results, wanted: dict[str, Any], message: str, hint: str
    ) -> None:
        with pytest.raises(UsageError, match=message) as caught:
            results.filter(**wanted)
        assert hint in caught.value.hint

    def test_a_name_that_only_failed_runs_have_is_known(self, make_record: Any) -> None:
        results = Results((make_record("random"),), (make_record.failure("dilm"),))
        chosen = results.filter(distiller="dilm")
        assert (len(chosen), len(chosen.failures)) == (0, 1)

    def test_of_nothing_there_is_nothing_to_choose(self) -> None:
        assert Results(()).filter(task="sst2") == Results(())

    def test_notes_and_problems_stay(self, results: Results, tmp_path: Path) -> None:
        told = replace(results, notes=("a note",), problems=(Problem(tmp_path, "cut off"),))
        for chosen in (told.filter(task="qqp"), told.only([])):
            assert (chosen.notes, chosen.problems) == (told.notes, told.problems)

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
