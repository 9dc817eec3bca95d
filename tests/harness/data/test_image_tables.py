"""Tables with images at the host's borders: contracts, fingerprints, storing, sizes, samples."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset, Features, Image, Value
from PIL import Image as Pictures

from harness.budget import Budget
from harness.data.images import image_bytes, image_columns
from harness.errors import ContractError
from harness.fingerprint import rows_digest, task_fingerprint
from harness.records.record import Cost
from harness.registry.components import Component, DistillerComponent
from harness.registry.contracts import check_distilled, check_task
from harness.running.recording import distilled_bytes, samples_of
from harness.storage.artifacts import Distilled
from harness.storage.store import Store
from harness.testing.image_text import toy_image_text_task
from harness.types import DistilledData, TaskData

TASK = toy_image_text_task()
COMPONENT = Component("task", "thing", object, "", "some-plugin", "", "1")
SELECTS = DistillerComponent(
    "distiller", "thing", object, "", "some-plugin", "", "1", produces="selection"
)
WRITES = replace(SELECTS, produces="synthesis")


def _with_rows(change: Callable[[dict[str, list[object]]], None]) -> Dataset:
    """The train split with its columns changed, images as their bytes."""
    columns = {name: list(TASK.train[name]) for name in ("caption", "label")}
    columns["image"] = [{"bytes": b, "path": None} for b in image_bytes(TASK.train, "image")]
    change(columns)
    return Dataset.from_dict(columns, features=TASK.train.features)


def _changed(column: str, position: int, value: object) -> TaskData:
    train = _with_rows(lambda columns: columns[column].__setitem__(position, value))
    return replace(TASK, splits={**TASK.splits, "train": train})


def test_a_good_task_and_selection_pass() -> None:
    check_task(COMPONENT, TASK)
    check_task(COMPONENT, toy_image_text_task(classes=False))
    check_distilled(SELECTS, DistilledData.select(TASK, [3, 1, 2]), TASK, Budget.parse("3rows"))
    check_distilled(WRITES, DistilledData(TASK.train), TASK, Budget.parse("100%"))


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (_changed("caption", 2, "  "), "column 'caption' of train .*row 2"),
        (_changed("label", 1, 3), "labels of train"),
        (_changed("image", 0, {"bytes": b"no image", "path": None}), "row 0 of the split 'train'"),
        (_changed("image", 5, None), "row 5 of the split 'train' of 'toy-squares' has no image"),
        (replace(TASK, class_texts=TASK.class_texts[:2]), "texts for 3 classes, got for 2"),
        (replace(TASK, class_texts=(*TASK.class_texts[:2], ())), r"\(\) for 'blue'"),
        (replace(TASK, class_texts=(*TASK.class_texts[:2], ("a", " "))), "for 'blue'"),
        (replace(TASK, class_texts=()), "texts for 3 classes, got for 0"),
        (replace(toy_image_text_task(classes=False), class_texts=(("a",),)), "class_texts"),
    ],
)
def test_each_breach_of_an_image_text_task_is_named(task: TaskData, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        check_task(COMPONENT, task)


def test_a_column_of_bare_bytes_is_no_column_of_images() -> None:
    bare = Dataset.from_dict(
        {"image": list(image_bytes(TASK.train, "image")), "caption": TASK.train["caption"][:],
         "label": TASK.train["label"][:]},
        features=Features({"image": Value("binary"), "caption": Value("string"),
                           "label": Value("int64")}),
    )  # fmt: skip
    with pytest.raises(ContractError, match=r"datasets\.Image"):
        check_task(COMPONENT, replace(TASK, splits={**TASK.splits, "train": bare}))


def test_a_selection_with_other_images_than_the_train_rows_is_refused() -> None:
    other = _with_rows(lambda columns: columns["image"].reverse()).select([0, 1])
    with pytest.raises(ContractError, match="not a selection"):
        check_distilled(
            SELECTS, DistilledData(other, np.array([0, 1])), TASK, Budget.parse("2rows")
        )


def test_written_rows_with_a_damaged_image_are_refused() -> None:
    damaged = _changed("image", 1, {"bytes": b"no image", "path": None}).train
    with pytest.raises(ContractError, match="row 1"):
        check_distilled(WRITES, DistilledData(damaged), TASK, Budget.parse("100%"))


def test_a_digest_is_of_the_files_bytes_wherever_they_lie(tmp_path: Path) -> None:
    contents = list(image_bytes(TASK.train, "image"))
    for number, content in enumerate(contents):
        (tmp_path / f"{number}.png").write_bytes(content)

    def onto_disk(columns: dict[str, list[object]]) -> None:
        columns["image"] = [
            {"bytes": None, "path": str(tmp_path / f"{n}.png")} for n in range(len(contents))
        ]

    assert rows_digest(_with_rows(onto_disk)) == rows_digest(TASK.train)
    shifted = _with_rows(lambda columns: columns["image"].insert(0, columns["image"].pop()))
    assert rows_digest(shifted) != rows_digest(TASK.train)


def test_a_tables_digest_knows_pixels_that_look_alike_from_other_files() -> None:
    picture = Pictures.open(io.BytesIO(next(image_bytes(TASK.train, "image"))))
    again = io.BytesIO()
    picture.save(again, "BMP")
    other = _changed("image", 0, {"bytes": again.getvalue(), "path": None})
    assert rows_digest(other.train) != rows_digest(TASK.train)


def test_the_fingerprint_covers_the_texts_of_the_classes() -> None:
    other = replace(TASK, class_texts=tuple(texts[::-1] for texts in TASK.class_texts))
    assert task_fingerprint(TASK) == task_fingerprint(toy_image_text_task())
    assert task_fingerprint(other) != task_fingerprint(TASK)


def test_a_stored_selection_comes_back_whole_without_holding_an_image(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.prepare()
    data = DistilledData.select(TASK, [7, 2, 30])
    store.save_distilled("k", Distilled(data, Cost(1.0, 1, 0)))
    found = store.distilled("k", TASK.train)
    assert found is not None
    assert rows_digest(found.data.rows) == rows_digest(data.rows)
    assert image_columns(found.data.rows) == ("image",)
    stored = (store.distilled_path("k") / "rows.parquet").read_bytes()
    assert not any(content in stored for content in image_bytes(data.rows, "image"))
    check_distilled(SELECTS, found.data, TASK, Budget.parse("3rows"))


def test_stored_written_rows_keep_their_images(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.prepare()
    data = DistilledData(TASK.validation)
    store.save_distilled("k", Distilled(data, Cost(1.0, 1, 0)))
    found = store.distilled("k", TASK.train)
    assert found is not None
    assert found.data.rows.features["image"] == Image()
    assert rows_digest(found.data.rows) == rows_digest(TASK.validation)


def test_the_size_of_a_set_counts_the_files_of_its_images() -> None:
    data = DistilledData.select(TASK, [0, 9])
    files = sum(map(len, image_bytes(data.rows, "image")))
    texts = sum(len(text.encode()) for text in data.rows["caption"])
    assert distilled_bytes(Distilled(data, Cost(1.0, 1, 0))) == files + texts + 2 * 8


def test_samples_show_small_pictures() -> None:
    large = io.BytesIO()
    Pictures.new("RGB", (400, 100), (250, 0, 0)).save(large, "PNG")
    task = _changed("image", 0, {"bytes": large.getvalue(), "path": None})
    samples = samples_of(DistilledData.select(task, [0, 1]))
    kind, _, content = samples[0]["image"].partition(",")
    shown = Pictures.open(io.BytesIO(base64.b64decode(content)))
    assert kind == "data:image/jpeg;base64"
    assert shown.size == (32, 8)
    assert samples[0]["caption"] == task.train[0]["caption"]
    assert len(samples) == 2
