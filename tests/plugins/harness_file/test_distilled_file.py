"""Sets made elsewhere: read as they are, one for each seed, and refused when they do not fit."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset

from harness.api import bench, distill
from harness.budget import Budget
from harness.context import StageContext
from harness.data.sources import DataLocator, LocatedSplits
from harness.errors import MissingDependencyError, UsageError
from harness.plugins import PluginHost
from harness.registry.components import resolve
from harness.testing.toys import toy_task
from harness.types import DataSource
from harness_file.distilled_file import DistilledFile
from toy_paths import TOY_PLUGIN, TOY_SUITE

TASK = toy_task()
BUDGET = Budget.parse("4/class")
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes rows as packed JSONL."""

    def writer(rows: list[dict[str, Any]], name: str = "rows.jsonl.gz") -> Path:
        path = tmp_path / name
        with gzip.open(path, "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
        return path

    return writer


def rows(count: int = 4, **more: Any) -> list[dict[str, Any]]:
    return [{"text": f"row {i}", "label": i % 2, **more} for i in range(count)]


def distilled(file: DistilledFile, seed: int = 0, budget: Budget = BUDGET) -> Any:
    return file.distill(TASK, budget, StageContext(99, Path(), listed_seed=seed))


def test_the_rows_come_in_the_order_of_the_file(write: Write) -> None:
    data = distilled(DistilledFile(str(write(rows()))))
    assert data.rows["text"][:] == [f"row {i}" for i in range(4)]
    assert data.rows["label"][:] == [0, 1, 0, 1]
    assert data.indices is None
    assert data.used_splits == ("train",)


def test_each_distilling_seed_has_its_own_set(write: Write) -> None:
    many = [{**row, "set": s, "text": f"set {s}"} for s in (0, 7) for row in rows(2)]
    file = DistilledFile(str(write(many)))
    assert set(distilled(file, seed=7).rows["text"]) == {"set 7"}
    assert len(distilled(file, seed=0).rows) == 2


def test_a_seed_without_a_set_is_an_error_that_lists_the_sets(write: Write) -> None:
    many = [{**row, "set": s} for s in (0, 7) for row in rows(2)]
    with pytest.raises(UsageError, match="no set 3") as caught:
        distilled(DistilledFile(str(write(many))), seed=3)
    assert "0, 7" in (caught.value.hint or "")


def test_seeds_and_budgets_may_have_files_of_their_own(write: Write, tmp_path: Path) -> None:
    for seed in (0, 1):
        write(rows(2, text=f"file {seed}"), f"dpc4_seed{seed}.jsonl.gz")
    file = DistilledFile(str(tmp_path / "dpc{budget}_seed{seed}.jsonl.gz"))
    assert set(distilled(file, seed=1).rows["text"]) == {"file 1"}
    with pytest.raises(UsageError, match=r"no file .*seed5"):
        distilled(file, seed=5)


def test_columns_and_labels_may_have_other_names(write: Write) -> None:
    foreign = [
        {"sentence": "good", "labels": TASK.label_names[1]},
        {"sentence": "bad", "labels": "0"},
    ]
    file = DistilledFile(str(write(foreign)), text=("sentence",), label="labels")
    assert distilled(file).rows["label"][:] == [1, 0]


def test_soft_labels_and_weights_are_used_where_they_are(write: Write) -> None:
    soft = [{**row, "soft_label": [0.25, 0.75], "weight": i} for i, row in enumerate(rows())]
    data = distilled(DistilledFile(str(write(soft))))
    np.testing.assert_array_equal(data.soft_labels, [[0.25, 0.75]] * 4)
    np.testing.assert_array_equal(data.weights, [0, 1, 2, 3])


class TestRefused:
    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="no file"):
            DistilledFile(str(tmp_path / "none.jsonl"))
        with pytest.raises(UsageError, match="no file matches"):
            DistilledFile(str(tmp_path / "none{seed}.jsonl"))
        with pytest.raises(UsageError, match="needs a path"):
            DistilledFile()

    def test_a_column_that_is_missing(self, write: Write) -> None:
        with pytest.raises(UsageError, match="no column 'text'") as caught:
            distilled(DistilledFile(str(write([{"texts": "a", "label": 0}]))))
        assert "texts" in (caught.value.hint or "")

    def test_a_label_that_is_none_of_the_tasks(self, write: Write) -> None:
        with pytest.raises(UsageError, match=r"row 2 .* label '5'"):
            distilled(DistilledFile(str(write([*rows(1), {"text": "a", "label": 5}]))))

    def test_a_row_without_text(self, write: Write) -> None:
        with pytest.raises(UsageError, match=r"row 2 .* no text"):
            distilled(DistilledFile(str(write([*rows(1), {"text": " ", "label": 0}]))))

    def test_more_rows_than_the_budget(self, write: Write) -> None:
        with pytest.raises(UsageError, match="10 rows, the budget 4/class allows 8"):
            distilled(DistilledFile(str(write(rows(10)))))

    def test_ragged_soft_labels(self, write: Write) -> None:
        ragged = [{**row, "soft_label": [1.0] * (i + 1)} for i, row in enumerate(rows())]
        with pytest.raises(UsageError, match="soft_label"):
            distilled(DistilledFile(str(write(ragged))))

    def test_two_text_columns_for_one(self, write: Write) -> None:
        with pytest.raises(UsageError, match="names 2 columns, the task has 1"):
            distilled(DistilledFile(str(write(rows())), text=("a", "b")))


class TestKey:
    def test_a_changed_file_is_another_key(self, write: Write) -> None:
        first = DistilledFile(str(write(rows()))).fingerprint()
        assert DistilledFile(str(write(rows()))).fingerprint() == first
        assert DistilledFile(str(write(rows(3)))).fingerprint() != first

    def test_every_file_of_a_pattern_counts(self, write: Write, tmp_path: Path) -> None:
        write(rows(), "a0.jsonl.gz")
        file = str(tmp_path / "a{seed}.jsonl.gz")
        before = DistilledFile(file).fingerprint()
        write(rows(), "a1.jsonl.gz")
        assert DistilledFile(file).fingerprint() != before


class TestHub:
    def test_a_data_set_of_the_hub_is_read_at_one_commit(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = []

        def from_hub(self: DataLocator, dataset: Any, splits: Any) -> LocatedSplits:
            asked.append((str(dataset), tuple(splits)))
            return LocatedSplits(
                {"test": Dataset.from_list(rows())}, DataSource("hub", "a/b@c0ffee")
            )

        monkeypatch.setattr(DataLocator, "from_hub", from_hub)
        file = DistilledFile("hf:a/b", split="test", revision="main")
        assert len(distilled(file).rows) == 4
        assert file.fingerprint() == "a/b@c0ffee test"
        assert asked == [("a/b@main", ("test",))]

    def test_offline_it_is_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        with pytest.raises(MissingDependencyError):
            distilled(DistilledFile("hf:nobody/nothing-of-this-name"))


def test_what_distill_exports_comes_back_as_a_row_of_a_board(tmp_path: Path) -> None:
    made = distill(
        "seeded", export=tmp_path / "set", suite=TOY_SUITE, seed=1, plugins=[TOY_PLUGIN],
        output=tmp_path / "results",
    )  # fmt: skip
    path = tmp_path / "set" / "data.parquet"
    result = bench(
        TOY_SUITE, distillers=[f"file:{path}"], plugins=[TOY_PLUGIN], output=tmp_path / "results"
    )
    assert result.outcome.failures == []
    record = result.results.filter(distiller="file").records[0]
    assert record.distilled.rows == len(made.distilled.data.rows)
    assert record.distilled.produces == "synthesis"


def test_a_bench_takes_the_set_of_each_seed(write: Write, tmp_path: Path) -> None:
    words = toy_task().train["text"][:8]
    many = [
        {"text": words[i], "label": toy_task().train["label"][i], "set": s}
        for s in (0, 1, 2)
        for i in range(2 * s, 2 * s + 2)
    ]
    path = write(many)
    result = bench(
        TOY_SUITE, distillers=[f"file:{path}"], plugins=[TOY_PLUGIN], output=tmp_path / "results"
    )
    found = {r.distill_seed: r.distilled for r in result.results.filter(distiller="file")}
    assert {seed: one.samples[0]["text"] for seed, one in found.items()} == {
        seed: words[2 * seed] for seed in (0, 1, 2)
    }


def test_it_is_found_by_name(write: Write) -> None:
    component = PluginHost.discover().registry.find("distiller", "file")
    choice = resolve(component, str(write(rows())), {"label": "label"})
    assert choice.identity["fingerprint"].startswith("sha256:")
    assert replace(choice.instance, set="other").set == "other"
