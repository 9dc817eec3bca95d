"""Pictures beside records: safe names, written whole, found again, merged with their records."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.context import StageContext
from harness.errors import ContractError
from harness.records.merging import load_merged
from harness.records.pictures import found_pictures
from harness.records.results import load_records
from harness.storage.store import Store

PNG = b"\x89PNG\r\n\x1a\n and the rest"
KEY = "0123456789abcdef" * 2


@pytest.mark.parametrize("name", ["", "../x", "a/b", "A", "a.b", "-a", "a--b", "a b", "é"])
def test_a_name_that_is_no_plain_one_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="a-z, 0-9 and -"):
        StageContext(0, tmp_path).keep_picture(name, PNG)


def test_what_is_no_png_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="a PNG file"):
        StageContext(0, tmp_path).keep_picture("sheet", b"<svg/>")


def test_the_pictures_of_a_record_are_those_of_its_last_evaluation(tmp_path: Path) -> None:
    store = Store(tmp_path)
    context = StageContext(0, tmp_path)
    context.keep_picture("one", PNG)
    context.keep_picture("two", PNG)
    store.save_pictures(KEY, context.pictures)
    folder = tmp_path / "pictures" / KEY
    assert found_pictures(tmp_path) == {KEY: (folder / "one.png", folder / "two.png")}
    store.save_pictures(KEY, {"two": PNG + b"!"})
    assert found_pictures(tmp_path) == {KEY: (folder / "two.png",)}
    assert (folder / "two.png").read_bytes() == PNG + b"!"
    store.save_pictures(KEY, {})
    assert found_pictures(tmp_path) == {}


def test_links_and_other_files_are_left_alone(tmp_path: Path) -> None:
    outside = tmp_path / "outside.png"
    outside.write_bytes(PNG)
    Store(tmp_path).save_pictures(KEY, {"own": PNG})
    area = tmp_path / "pictures"
    (area / KEY / "link.png").symlink_to(outside)
    (area / KEY / "note.txt").write_text("x")
    (area / f"{KEY}.partial").mkdir()
    (area / f"{KEY}.partial" / "own.png").write_bytes(PNG)
    (area / ("f" * 32)).symlink_to(area / KEY)
    assert found_pictures(tmp_path) == {KEY: (area / KEY / "own.png",)}


def test_a_merged_record_has_the_pictures_of_its_own_folder(
    tmp_path: Path, make_record: Any
) -> None:
    first, second = (
        replace(record, key=key * 16)
        for key, record in zip(("ab", "cd"), make_record.seeds("random", [0.5, 0.6]), strict=True)
    )
    for name, records in (("a", [first]), ("b", [first, second])):
        store = Store(tmp_path / name)
        store.prepare()
        for record in records:
            store.save_pictures(record.key, {"sheet": PNG})
            store.save_record(record)
    merged = load_merged([tmp_path / "a", tmp_path / "b"])
    assert set(merged.pictures) == {first.key, second.key}
    assert merged.pictures[second.key][0].parts[-4] == "b"
    assert load_records(tmp_path / "a").pictures.keys() == {first.key}
