"""Reads JSONL, CSV and Parquet files into tables in memory, with errors that name the line."""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from harness.errors import HarnessError, UsageError

if TYPE_CHECKING:
    from datasets import Dataset

LONGEST_FIELD = 2**30
"""Characters that one CSV field may hold; Python's own default is 131,072."""


def read_rows(path: Path) -> Dataset:
    """All rows of `.jsonl`, `.csv`, `.tsv` (each also with `.gz`) or `.parquet`.

    Nothing is cached on disk.

    Raises:
        UsageError: no such file, or a name with another ending.
        HarnessError: a file that is damaged, malformed or without rows.
    """
    if not path.is_file():
        raise UsageError(f"there is no file '{path}'")
    return _reader(path)(path)


def read_jsonl(path: Path) -> Dataset:
    """One JSON object a line; blank lines are skipped, and an absent key reads as None."""
    columns: dict[str, list[Any]] = {}
    count = 0
    with _lines(path) as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            row = _parse_object(line, path, number)
            for name in row:
                if name not in columns:
                    columns[name] = [None] * count
            for name, values in columns.items():
                values.append(row.get(name))
            count += 1
    return _table(columns, count, path)


def read_csv(path: Path, delimiter: str = ",") -> Dataset:
    """A header and rows of as many fields, all read as text; quoted fields may span lines."""
    with _lines(path) as lines, _field_limit(LONGEST_FIELD):
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        rows = _csv_rows(reader, path)
        header = next(rows, None)
        if header is None:
            raise HarnessError(f"'{path.name}' is empty: it has no header")
        if len(set(header)) < len(header):
            raise HarnessError(f"'{path.name}' names a column twice: {', '.join(header)}")
        table = []
        for row in rows:
            if len(row) != len(header):
                raise HarnessError(
                    f"'{path.name}', line {reader.line_num}: {len(row)} fields,"
                    f" but the header has {len(header)}"
                )
            table.append(row)
    columns = {name: [row[i] for row in table] for i, name in enumerate(header)}
    return _table(columns, len(table), path)


def read_parquet(path: Path) -> Dataset:
    """A Parquet file, with the feature types that `datasets` stored in it."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from datasets import Dataset

    try:
        table = pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as error:
        raise HarnessError(f"'{path.name}' cannot be read: {_first_line(error)}") from error
    if table.num_rows == 0:
        raise HarnessError(f"'{path.name}' has no rows")
    return Dataset(table)


def _reader(path: Path) -> Callable[[Path], Dataset]:
    name = path.name.removesuffix(".gz")
    if name.endswith(".jsonl"):
        return read_jsonl
    if name.endswith(".csv"):
        return read_csv
    if name.endswith(".tsv"):
        return lambda file: read_csv(file, delimiter="\t")
    if path.name.endswith(".parquet"):
        return read_parquet
    raise UsageError(
        f"the kind of '{path.name}' is not known",
        hint="Known: .jsonl, .csv and .tsv, each also with .gz, and .parquet.",
    )


@contextmanager
def _lines(path: Path) -> Iterator[IO[str]]:
    """The text of a file, unpacked if its name says so; damage becomes one clear error."""
    try:
        if path.name.endswith(".gz"):
            with gzip.open(path, "rt", encoding="utf-8-sig", newline="") as unpacked:
                yield unpacked
        else:
            with path.open(encoding="utf-8-sig", newline="") as plain:
                yield plain
    except UnicodeDecodeError as error:
        raise HarnessError(f"'{path.name}' is not UTF-8 text: {error}") from error
    except (OSError, EOFError, zlib.error) as error:
        reason = _first_line(error)
        raise HarnessError(f"'{path.name}' is damaged or cannot be read: {reason}") from error


@contextmanager
def _field_limit(characters: int) -> Iterator[None]:
    before = csv.field_size_limit(characters)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _csv_rows(reader: Any, path: Path) -> Iterator[Sequence[str]]:
    """The rows that are not blank lines; `csv.Error` gets its line number."""
    try:
        for row in reader:
            if row:
                yield row
    except csv.Error as error:
        raise HarnessError(f"'{path.name}', line {reader.line_num}: {error}") from error


def _parse_object(line: str, path: Path, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise HarnessError(f"'{path.name}', line {number}: not JSON ({error.msg})") from error
    if not isinstance(row, dict):
        raise HarnessError(
            f"'{path.name}', line {number}: expected an object, got {type(row).__name__}"
        )
    return row


def _table(columns: dict[str, list[Any]], count: int, path: Path) -> Dataset:
    import pyarrow as pa
    from datasets import Dataset

    if count == 0:
        raise HarnessError(f"'{path.name}' has no rows")
    arrays = {}
    for name, values in columns.items():
        try:
            arrays[name] = pa.array(values)
        except (pa.ArrowException, OverflowError, UnicodeEncodeError) as error:
            raise HarnessError(
                f"column '{name}' of '{path.name}' has no type that fits all rows:"
                f" {_first_line(error)}"
            ) from error
    return Dataset(pa.table(arrays))


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
