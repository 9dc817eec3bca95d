"""What A and B may be, which reading wins, and how a wrong name is answered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.comparison.comparing import compare
from harness.comparison.findings import Comparison
from harness.errors import UsageError
from harness.records.record import Record


def labels(comparison: Comparison) -> list[str]:
    return [row.label for row in comparison.rows]


def made_at(commit: str, records: list[Record]) -> list[Record]:
    return [
        replace(r, key=f"{commit}-{r.key}", provenance=replace(r.provenance, commit=commit))
        for r in records
    ]


class TestMethods:
    def test_they_are_compared_at_every_common_budget(self, write: Any, draw: Any) -> None:
        records = [
            *draw("a", 0.6, budget="10/class"),
            *draw("a", 0.7, budget="20/class"),
            *draw("b", 0.5, budget="10/class"),
            *draw("b", 0.5, budget="20/class"),
            *draw("b", 0.5, budget="5/class"),
        ]
        comparison = compare("a", "b", folder=write("r", records))
        assert labels(comparison) == ["a – b @ 10/class", "a – b @ 20/class"]
        assert labels(compare("a@10/class", "b", folder=write("r", []))) == ["a – b @ 10/class"]

    def test_a_budget_on_each_side_compares_across_budgets(self, write: Any, draw: Any) -> None:
        records = [*draw("a", 0.6, budget="10/class"), *draw("a", 0.7, budget="20/class")]
        comparison = compare("a@10/class", "a@20/class", folder=write("r", records))
        assert labels(comparison) == ["a @ 10/class – a @ 20/class"]
        assert ("budget", "10/class", "20/class") in [
            (c.name, c.first, c.second) for c in comparison.changes
        ]

    def test_methods_with_one_budget_each_need_none(self, write: Any, draw: Any) -> None:
        records = [*draw("a", 0.6), *draw("full", 0.9, budget="100%")]
        comparison = compare("a", "full", folder=write("r", records))
        assert labels(comparison) == ["a @ 10/class – full @ 100%"]

    def test_every_table_that_has_both_is_compared(self, write: Any, draw: Any) -> None:
        records = [r for task in ("sst2", "qqp") for r in draw("a", 0.6, task=task)]
        records += [r for task in ("sst2", "qqp") for r in draw("b", 0.6, task=task)]
        comparison = compare("a", "b", folder=write("r", records))
        assert [row.table.partition(" ")[0] for row in comparison.rows] == ["qqp", "sst2"]

    def test_configurations_are_told_apart_by_the_name_of_the_board(
        self, write: Any, draw: Any
    ) -> None:
        records = [
            *draw("a", 0.6, options={"steps": 5}),
            *draw("a", 0.7, options={"steps": 9}),
            *draw("b", 0.5),
        ]
        folder = write("r", records)
        with pytest.raises(UsageError, match="'a' fits 2 rows at 10/class") as raised:
            compare("a", "b", folder=folder)
        assert "'a [steps=5]' or 'a [steps=9]'" in raised.value.hint
        comparison = compare("a [steps=5]", "a [steps=9]", folder=folder)
        assert [(c.name, c.first, c.second) for c in comparison.changes] == [
            ("method option steps", "5", "9")
        ]

    def test_a_label_wins_over_the_name_it_starts_with(self, write: Any, draw: Any) -> None:
        records = [*draw("dilm", 0.6), *draw("dilm:small", 0.6), *draw("b", 0.6)]
        folder = write("r", records)
        assert labels(compare("dilm", "b", folder=folder)) == ["dilm – b @ 10/class"]
        assert labels(compare("dilm:small", "b", folder=folder)) == ["dilm:small – b @ 10/class"]

    def test_rows_that_only_one_of_them_has_are_named(self, write: Any, draw: Any) -> None:
        records = [
            *draw("a", 0.6, budget="10/class"),
            *draw("a", 0.7, budget="20/class"),
            *draw("b", 0.5, budget="10/class"),
            *draw("b", 0.5, task="qqp"),
        ]
        folder = write("r", records)
        assert compare("a", "b", folder=folder).left_out == (
            "qqp · bert:minilm · classification / b @ 10/class: only in B",
            "sst2 · bert:minilm · classification / a @ 20/class: only in A",
        )
        assert compare("a@10/class", "b", folder=folder).left_out == ()

    def test_the_same_row_twice_is_refused(self, write: Any, draw: Any) -> None:
        with pytest.raises(UsageError, match="are the same row"):
            compare("a", "a@10/class", folder=write("r", draw("a", 0.6)))

    def test_no_common_budget_names_those_there_are(self, write: Any, draw: Any) -> None:
        records = [
            *draw("a", 0.6, budget="10/class"),
            *draw("b", 0.5, budget="20/class"),
            *draw("b", 0.5, budget="5/class"),
        ]
        with pytest.raises(UsageError, match="no row to compare") as raised:
            compare("a", "b", folder=write("r", records))
        assert "b is in sst2 · bert:minilm · classification at 5/class, 20/class" in (
            raised.value.hint
        )


class TestFolders:
    def test_rows_are_paired_by_name_and_the_change_is_told(self, write: Any, draw: Any) -> None:
        before = [*draw("a", 0.6, options={"steps": 5}), *draw("b", 0.6), *draw("gone", 0.5)]
        after = [*draw("a", 0.7, options={"steps": 9}), *draw("b", 0.6), *draw("new", 0.5)]
        comparison = compare(write("before", before), write("after", after))
        assert comparison.kind == "folders"
        assert labels(comparison) == ["a @ 10/class", "b @ 10/class"]
        (change,) = comparison.changes
        assert (change.name, change.first, change.second) == ("method option steps", "5", "9")
        assert change.rows == ("sst2 · bert:minilm · classification / a @ 10/class",)
        assert [text.partition(" / ")[2] for text in comparison.left_out] == [
            "gone @ 10/class: only in A",
            "new @ 10/class: only in B",
        ]

    def test_configurations_are_paired_by_their_settings(self, write: Any, draw: Any) -> None:
        both = [*draw("a", 0.6, options={"steps": 5}), *draw("a", 0.7, options={"steps": 9})]
        comparison = compare(write("before", both), write("after", both))
        assert labels(comparison) == ["a [steps=5] @ 10/class", "a [steps=9] @ 10/class"]
        assert comparison.changes == ()

    def test_a_change_of_machine_and_package_is_told_for_all_rows(
        self, write: Any, draw: Any
    ) -> None:
        before = draw("a", 0.6)
        after = [
            replace(r, provenance=replace(r.provenance, packages={"torch": "3.0"}, cores=64))
            for r in before
        ]
        comparison = compare(write("before", before), write("after", after))
        assert [(c.name, c.first, c.second, c.rows) for c in comparison.changes] == [
            ("torch", "2.9.0", "3.0", ()),
            ("cores", "2", "64", ()),
        ]

    def test_folders_win_over_methods_and_contradict_in(
        self, write: Any, draw: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write("a", draw("x", 0.6))
        write("b", draw("x", 0.7))
        write("runs/quickstart", [*draw("a", 0.6), *draw("b", 0.7)])
        monkeypatch.chdir(tmp_path)
        assert compare("a", "b").kind == "folders"
        with pytest.raises(UsageError, match="--in"):
            compare("a", "b", folder="runs/quickstart")
        assert compare("a@10/class", "b@10/class").kind == "methods"

    @pytest.mark.parametrize("content", ["nothing", "a broken file"])
    def test_a_folder_without_records_is_one_clear_error(
        self, write: Any, draw: Any, content: str
    ) -> None:
        empty = write("empty", [])
        if content == "a broken file":
            (empty / "records/x.json").write_text("{")
        with pytest.raises(UsageError, match=r"empty.* holds no"):
            compare(write("full", draw("a", 0.6)), empty)

    def test_nothing_in_common_is_one_clear_error(self, write: Any, draw: Any) -> None:
        with pytest.raises(UsageError, match="no row in common") as raised:
            compare(write("one", draw("a", 0.6)), write("two", draw("b", 0.6)))
        assert "a @ 10/class: only in A" in raised.value.hint

    def test_a_folder_and_something_else(self, write: Any, draw: Any) -> None:
        folder = write("one", draw("a", 0.6))
        with pytest.raises(UsageError, match="is a folder and 'herding' is not"):
            compare(folder, "herding")
        with pytest.raises(UsageError, match="are the same folder"):
            compare(folder, f"{folder}/../one")

    def test_without_folders_and_without_in_there_is_nothing_to_look_in(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(UsageError, match="no folders, and there is no runs/quickstart"):
            compare("a", "b")
        with pytest.raises(UsageError, match="there is no results folder nowhere"):
            compare("a", "b", folder="nowhere")


class TestCommits:
    def test_records_are_grouped_by_the_start_of_their_commit(self, write: Any, draw: Any) -> None:
        records = made_at("1a2b3c4d5e6f", draw("a", 0.6)) + made_at("1a2bffffffff", draw("a", 0.7))
        folder = write("r", records)
        comparison = compare("1a2b3c4", "1a2bf", folder=folder)
        assert comparison.kind == "commits"
        assert [(c.name, c.first, c.second) for c in comparison.changes] == [
            ("commit", "1a2b3c4d5e6f", "1a2bffffffff")
        ]
        full_hashes = compare("1a2b3c4d5e6f" + "0" * 28, "1a2bffffffff" + "0" * 28, folder=folder)
        assert full_hashes.rows == comparison.rows

    def test_a_start_of_two_commits_is_refused(self, write: Any, draw: Any) -> None:
        records = made_at("1a2b3c4d5e6f", draw("a", 0.6)) + made_at("1a2bffffffff", draw("a", 0.7))
        folder = write("r", records)
        with pytest.raises(UsageError, match="'1a2b' is the start of 2 commits"):
            compare("1a2b", "1a2b3", folder=folder)
        with pytest.raises(UsageError, match="the same commit"):
            compare("1a2b3", "1a2b3c", folder=folder)


class TestUnknown:
    def test_a_misspelt_method_is_suggested(self, write: Any, draw: Any) -> None:
        folder = write("r", [*draw("herding", 0.6), *draw("random", 0.6)])
        with pytest.raises(UsageError, match="'herdin@10/class' is no folder") as raised:
            compare("random", "herdin@10/class", folder=folder)
        assert "Did you mean herding?" in raised.value.hint
        assert "Commits of its records: 0123456789ab" in raised.value.hint

    def test_a_method_that_always_failed_is_said_to_have_failed(
        self, write: Any, draw: Any, make_record: Any
    ) -> None:
        folder = write("r", draw("herding", 0.6))
        failure = make_record.failure("dilm")
        (folder / "failures").mkdir()
        (folder / f"failures/{failure.key}.json").write_bytes(failure.to_json())
        with pytest.raises(UsageError, match="every run of 'dilm' failed") as raised:
            compare("herding", "dilm@10/class", folder=folder)
        assert "ContractError: it broke" in raised.value.hint

    def test_two_kinds_are_told_apart(self, write: Any, draw: Any) -> None:
        folder = write("r", draw("herding", 0.6))
        with pytest.raises(UsageError, match="two different things"):
            compare("herding", "01234567", folder=folder)

    def test_a_method_with_an_impossible_budget(self, write: Any, draw: Any) -> None:
        folder = write("r", [*draw("herding", 0.6), *draw("random", 0.6)])
        with pytest.raises(UsageError, match="unknown unit"):
            compare("herding@20bananas", "random", folder=folder)
        with pytest.raises(UsageError, match="no row to compare"):
            compare("herding@20/class", "random", folder=folder)
