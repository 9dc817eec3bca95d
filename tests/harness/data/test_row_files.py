"""Files become tables in memory, or one error that names file and line."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.data.row_files import read_csv, read_jsonl, read_rows
from harness.errors import HarnessError, UsageError

ROWS = [{"text": "a, b", "label": 0}, {"text": 'two\nlines "quoted"', "label": 1}]


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_jsonl_reads_back_packed_or_not(tmp_path: Path, name: str) -> None:
    assert read_rows(write_jsonl(tmp_path / name, ROWS)).to_list() == ROWS


def test_parquet_reads_back(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "rows.parquet")
    assert read_rows(tmp_path / "rows.parquet").to_list() == ROWS


text_cells = st.text(st.characters(codec="utf-8", exclude_characters="\x00"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(st.lists(st.tuples(text_cells, text_cells), min_size=1))
def test_csv_reads_what_the_standard_library_wrote(
    tmp_path: Path, rows: list[tuple[str, str]]
) -> None:
    with (tmp_path / "rows.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerows([("first", "second"), *rows])
    table = read_rows(tmp_path / "rows.csv")
    assert list(zip(table["first"], table["second"], strict=True)) == rows


def test_csv_takes_a_byte_order_mark_blank_lines_and_another_delimiter(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(b"\xef\xbb\xbftext;label\r\n\r\ngood;1\r\n")
    assert read_csv(tmp_path / "rows.csv", ";").to_list() == [{"text": "good", "label": "1"}]
    (tmp_path / "rows.tsv").write_text("text\tlabel\ngood\t1\n")
    assert read_rows(tmp_path / "rows.tsv").to_list() == [{"text": "good", "label": "1"}]


def test_a_csv_field_may_be_longer_than_pythons_default(tmp_path: Path) -> None:
    limit = csv.field_size_limit()
    long = "x" * (limit + 1)
    (tmp_path / "rows.csv").write_text(f"text,label\n{long},1\n")
    assert read_rows(tmp_path / "rows.csv")[0]["text"] == long
    assert csv.field_size_limit() == limit


def test_absent_keys_read_as_none_whichever_row_lacks_them(tmp_path: Path) -> None:
    rows = [{"a": 1}, {"b": "x"}, {"a": 2, "b": "y"}]
    table = read_rows(write_jsonl(tmp_path / "rows.jsonl", rows))
    assert table.column_names == ["a", "b"]
    assert table["a"][:] == [1, None, 2]
    assert table["b"][:] == [None, "x", "y"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1}\n\n{"a": }\n', "'rows.jsonl', line 3: not JSON"),
        (b'{"a": 1}\n[1]\n', "'rows.jsonl', line 2: expected an object, got list"),
        (b'{"a": 1}\n{"a": "x"}\n', "column 'a' of 'rows.jsonl' has no type"),
        (b'{"a": "\\ud800"}\n', "surrogates not allowed"),
        (b'{"a": 99999999999999999999}\n', "column 'a' of 'rows.jsonl' has no type"),
        (b'{"a": "\xff"}\n', "'rows.jsonl' is not UTF-8"),
        (b"\n", "'rows.jsonl' has no rows"),
    ],
)
def test_a_malformed_jsonl_file_names_the_line(
    tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "rows.jsonl").write_bytes(content)
    with pytest.raises(HarnessError, match=message):
        read_jsonl(tmp_path / "rows.jsonl")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text,label\ngood,1\nbad\n", "'rows.csv', line 3: 1 fields, but the header has 2"),
        ('text,label\n"a\nb",1\nx,y,z\n', "'rows.csv', line 4: 3 fields"),
        ('text,label\n"unclosed,1\n', "'rows.csv', line 2: unexpected end of data"),
        ("text,text\na,b\n", "names a column twice"),
        ("text,label\n", "'rows.csv' has no rows"),
        ("", "'rows.csv' is empty"),
    ],
)
def test_a_malformed_csv_file_names_the_line(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "rows.csv").write_text(content)
    with pytest.raises(HarnessError, match=message):
        read_csv(tmp_path / "rows.csv")


@pytest.mark.parametrize("damage", [lambda b: b[:-20], lambda b: b"not gzip", lambda b: b[:30]])
def test_a_damaged_gz_file_is_one_clear_error(tmp_path: Path, damage: Any) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl.gz", ROWS * 50)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(HarnessError, match=r"'rows.jsonl.gz' is damaged or cannot be read"):
        read_rows(path)


def test_a_flipped_byte_in_a_gz_file_never_gives_rows(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl.gz", ROWS * 50)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(HarnessError, match=r"rows.jsonl.gz"):
        read_rows(path)


def test_a_damaged_parquet_file_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "rows.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(HarnessError, match=r"'rows.parquet' cannot be read"):
        read_rows(tmp_path / "rows.parquet")


def test_a_missing_file_and_an_unknown_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no file"):
        read_rows(tmp_path / "rows.jsonl")
    (tmp_path / "rows.xlsx").touch()
    with pytest.raises(UsageError, match=r"the kind of 'rows.xlsx' is not known"):
        read_rows(tmp_path / "rows.xlsx")
