"""A user's own table becomes a task without a plugin, or one error says what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, Features, Value

from harness.data.sources import DataLocator, HubDataset, LocatedSplits
from harness.errors import HarnessError, MissingDependencyError, UsageError
from harness.fingerprint import task_fingerprint
from harness.registry.components import Component, resolve
from harness.registry.contracts import check_task
from harness.testing.text import check_task_plugin
from harness.types import DataSource, TaskData
from harness_text.files import CsvTask, HubTask, JsonlTask
from resolved import resolved

NOWHERE = DataLocator()


def reviews(count: int = 40, **extra: Any) -> list[dict[str, Any]]:
    return [{"body": f"review {i}", "stars": 1 + i % 2, **extra} for i in range(count)]


def jsonl(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def load_jsonl(path: Path, rows: list[dict[str, Any]], **options: Any) -> TaskData:
    chosen = {"text": ("body",), "label": "stars", **options}
    return JsonlTask(path=jsonl(path, rows), **chosen).load(NOWHERE)


def sizes(task: TaskData) -> dict[str, int]:
    return {split: len(rows) for split, rows in task.splits.items()}


def test_a_file_and_two_columns_are_enough(tmp_path: Path) -> None:
    task = JsonlTask(
        path=jsonl(tmp_path / "r.jsonl", reviews(extra="unused")), text=("body",), label="stars"
    )
    data = check_task_plugin(task, NOWHERE)
    assert data.name == "jsonl:r.jsonl"
    assert data.source == DataSource("file", "r.jsonl")
    assert data.label_names == ("1", "2")
    assert data.input_columns == ("body",)
    assert data.train.column_names == ["body", "label"]
    assert data.train.features["label"] == Value("int64")
    assert sizes(data) == {"train": 32, "validation": 4, "test": 4}
    assert data.class_counts("test") == [2, 2]


def test_options_come_from_text_as_the_command_line_gives_them(tmp_path: Path) -> None:
    component = Component("task", "jsonl", JsonlTask, "", "text", "", "1", argument="path")
    path = jsonl(tmp_path / "r.jsonl", reviews())
    given = {"text": "body", "label": "stars", "label_names": "bad,good", "test_share": "0.2"}
    data = resolve(component, path, given).instance.load(NOWHERE)
    check_task(component, data)
    assert data.label_names == ("bad", "good")
    assert len(data.test) == 8


def test_where_the_file_lies_is_no_part_of_the_identity(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    here = load_jsonl(tmp_path / "r.jsonl", reviews())
    there = load_jsonl(tmp_path / "elsewhere/r.jsonl", reviews())
    changed = load_jsonl(tmp_path / "r.jsonl", [*reviews(), {"body": "new", "stars": 1}])
    assert task_fingerprint(here) == task_fingerprint(there)
    assert task_fingerprint(here) != task_fingerprint(changed)


def test_csv_and_jsonl_of_the_same_rows_give_the_same_splits(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text(
        "body;stars\n" + "".join(f"{r['body']};{r['stars']}\n" for r in reviews())
    )
    options: dict[str, Any] = {"text": ("body",), "label": "stars"}
    from_csv = CsvTask(path=str(tmp_path / "r.csv"), delimiter=";", **options).load(NOWHERE)
    from_jsonl = load_jsonl(tmp_path / "r.jsonl", reviews())
    for split in ("train", "validation", "test"):
        assert from_csv.splits[split].to_list() == from_jsonl.splits[split].to_list()


def test_pairs_of_texts_keep_the_order_of_the_option(tmp_path: Path) -> None:
    rows = [{"q": f"question {i}", "a": f"answer {i}", "label": i % 3} for i in range(30)]
    path = jsonl(tmp_path / "pairs.jsonl", rows)
    data = JsonlTask(path=path, text=("q", "a"), metric="macro_f1").load(NOWHERE)
    assert data.input_columns == ("q", "a")
    assert data.metric == "macro_f1"
    assert data.train.column_names == ["q", "a", "label"]


def test_files_of_their_own_for_validation_and_test(tmp_path: Path) -> None:
    dev = [{"body": f"dev {i}", "stars": 1 + i % 2} for i in range(5)]
    test = [{"body": f"test {i}", "stars": 1 + i % 2} for i in range(6)] + reviews(1)
    data = load_jsonl(
        tmp_path / "r.jsonl",
        reviews(),
        validation=jsonl(tmp_path / "dev.jsonl", dev),
        test=jsonl(tmp_path / "test.jsonl", test),
    )
    assert sizes(data) == {"train": 39, "validation": 5, "test": 7}
    assert data.source.detail == "r.jsonl + dev.jsonl + test.jsonl"
    assert "train: 1 rows removed whose text is also in test" in data.notes


def test_a_class_that_a_given_split_lacks_is_noted(tmp_path: Path) -> None:
    test = jsonl(tmp_path / "test.jsonl", [{"body": "x", "stars": 1}])
    data = load_jsonl(tmp_path / "r.jsonl", reviews(), test=test, label_names=("bad", "good"))
    assert "test: no rows of good" in data.notes


def test_the_order_of_classes_can_be_set_so_that_f1_is_of_the_last(tmp_path: Path) -> None:
    rows = [{"text": f"t {i}", "label": ("yes", "no")[i % 2]} for i in range(20)]
    path = jsonl(tmp_path / "r.jsonl", rows)
    assert JsonlTask(path=path).load(NOWHERE).label_names == ("no", "yes")
    turned = JsonlTask(path=path, label_values=("yes", "no"), metric="f1").load(NOWHERE)
    assert turned.label_names == ("yes", "no")
    is_yes = {row["text"]: row["label"] == "yes" for row in rows}
    assert all(is_yes[row["text"]] == (row["label"] == 0) for row in turned.train)


def test_rows_without_text_are_refused_or_dropped_as_asked(tmp_path: Path) -> None:
    rows = reviews()
    rows[6]["body"], rows[9]["body"] = " \t", None
    with pytest.raises(
        UsageError, match=r"2 rows of .* lack a text; the first is row 7, column 'body'"
    ):
        load_jsonl(tmp_path / "r.jsonl", rows)
    data = load_jsonl(tmp_path / "r.jsonl", rows, drop_empty=True)
    assert sum(sizes(data).values()) == 38
    assert "train: 2 rows removed that lack a text" in data.notes


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no file '.*absent.csv'"):
        CsvTask(path=str(tmp_path / "absent.csv")).load(NOWHERE)
    path = jsonl(tmp_path / "r.jsonl", reviews())
    with pytest.raises(UsageError, match=r"there is no file '.*absent.jsonl'"):
        JsonlTask(path=path, test=str(tmp_path / "absent.jsonl")).load(NOWHERE)


@pytest.mark.parametrize(
    ("options", "column"), [({"text": ("boby",)}, "boby"), ({"label": "star"}, "star")]
)
def test_a_missing_column_is_named_with_those_that_exist(
    tmp_path: Path, options: dict[str, Any], column: str
) -> None:
    with pytest.raises(UsageError, match=f"has no column '{column}'") as error:
        load_jsonl(tmp_path / "r.jsonl", reviews(), **options)
    assert "body, stars" in error.value.hint


def test_a_line_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text('{"text": "a", "label": 0}\n{"text": "b", \n')
    with pytest.raises(HarnessError, match=r"'r.jsonl', line 2"):
        JsonlTask(path=str(path)).load(NOWHERE)


def test_one_class_only_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"column 'stars' of .*: one class only, '5'"):
        load_jsonl(tmp_path / "r.jsonl", [{**row, "stars": 5} for row in reviews()])


def test_a_class_too_small_to_be_in_every_split_is_refused(tmp_path: Path) -> None:
    rows = [*reviews(), {"body": "odd", "stars": 3}]
    with pytest.raises(UsageError, match="'3' has 1, needed 3"):
        load_jsonl(tmp_path / "r.jsonl", rows)


def test_a_test_label_that_train_never_has_is_refused(tmp_path: Path) -> None:
    test = jsonl(tmp_path / "test.jsonl", [{"body": "x", "stars": 7}])
    with pytest.raises(UsageError, match=r"row 1 of the test split .* has the label '7'"):
        load_jsonl(tmp_path / "r.jsonl", reviews(), test=test)


def test_a_text_column_of_numbers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"column 'body' of .* is not text: row 1 holds 3"):
        load_jsonl(tmp_path / "r.jsonl", [{**row, "body": 3} for row in reviews()])


def test_a_two_class_metric_is_refused_for_more_classes(tmp_path: Path) -> None:
    rows = [{"text": f"t {i}", "label": i % 3} for i in range(30)]
    with pytest.raises(UsageError, match="metric 'f1' is for two classes"):
        JsonlTask(path=jsonl(tmp_path / "r.jsonl", rows), metric="f1").load(NOWHERE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "needs a file"),
        ({"path": "x", "text": ()}, "one or two columns"),
        ({"path": "x", "text": ("a", "b", "c")}, "one or two columns"),
        ({"path": "x", "text": ("a", "a")}, "one or two columns"),
        ({"path": "x", "text": ("a",), "label": "a"}, "both text and label"),
        ({"path": "x", "text": ("label",), "label": "y"}, "cannot be called 'label'"),
        ({"path": "x", "test_share": 0.0}, r"test_share = 0\.0: should be a number, above 0"),
        ({"path": "x", "validation_share": 0.5}, "validation_share = 0.5: should be .* below 0.5"),
        ({"path": "x", "delimiter": "ab"}, "delimiter = 'ab'"),
    ],
)
def test_options_that_make_no_sense_are_refused_before_any_work(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        resolved(CsvTask, **options)


class HubInMemory(DataLocator):
    """A hub with one data set whose label column names its classes."""

    def from_hub(self, dataset: HubDataset, splits: Any) -> LocatedSplits:
        features = Features(
            {"sentence": Value("string"), "label": ClassLabel(names=["negative", "positive"])}
        )

        def table(name: str, labels: list[int]) -> Dataset:
            texts = [f"{name} {i}" for i in range(len(labels))]
            return Dataset.from_dict({"sentence": texts, "label": labels}, features=features)

        every = {
            "train": table("train", [0, 1] * 10),
            "validation": table("dev", [1, 0, 1]),
            "test": table("test", [-1, -1]),
        }
        return LocatedSplits({s: every[s] for s in splits}, DataSource("hub", f"{dataset}"))


def test_a_hub_data_set_brings_its_class_names() -> None:
    data = HubTask(dataset="someone/films", text=("sentence",), test="validation").load(
        HubInMemory()
    )
    assert data.name == "hf:someone/films"
    assert data.label_names == ("negative", "positive")
    assert data.test["label"][:] == [1, 0, 1]
    assert data.test.features["label"] == Value("int64")
    assert sizes(data) == {"train": 18, "validation": 2, "test": 3}


def test_the_classes_of_a_hub_data_set_can_be_turned_and_renamed() -> None:
    data = HubTask(
        dataset="someone/films",
        text=("sentence",),
        test="validation",
        label_values=("positive", "negative"),
        label_names=("good", "bad"),
    ).load(HubInMemory())
    assert data.label_names == ("good", "bad")
    assert data.test["label"][:] == [0, 1, 0]


def test_a_hub_split_without_labels_is_refused() -> None:
    task = HubTask(dataset="someone/films", text=("sentence",), test="test")
    with pytest.raises(UsageError, match=r"row 1 of the test split .* has the label '-1'"):
        task.load(HubInMemory())


def test_a_hub_data_set_needs_the_hub() -> None:
    with pytest.raises(UsageError, match="needs a data set of the hub"):
        HubTask()
    with pytest.raises(MissingDependencyError, match="the hub was not asked for someone/films"):
        HubTask(dataset="someone/films").load(DataLocator().without_hub())
