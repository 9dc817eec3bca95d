"""Records as a Hugging Face data set: one Parquet file, and a card that says what it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import UsageError
from harness.leaderboard.board import build_board
from harness.leaderboard.formats.escaping import markdown, printable
from harness.records.frame import flat_row
from harness.records.pictures import PICTURES
from harness.records.record import Record
from harness.records.results import Results
from harness.storage.atomic import atomic_folder
from harness.version import __version__

if TYPE_CHECKING:
    import pyarrow as pa

DATA_FILE = "records.parquet"
ITEMS = "items_"
"""Before the name of an item outcome, so that no column of the frame is hidden by it."""
_AT_ONCE = 1000
"""Records of one row group: item outcomes are unpacked so many at a time."""


def export_results(results: Results, folder: Path) -> None:
    """Writes `records.parquet` and `README.md` into a new folder for `datasets.load_dataset`.

    Pictures of the records are copied to `pictures/KEY/`.

    The columns are those of `Results.to_pandas`, and a list column `items_NAME` for each item
    outcome; what a record has not is null.

    Raises:
        UsageError: the folder exists and is not empty, or there are no records.
    """
    import pyarrow.parquet

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"'{folder}' is not empty", hint="Name a new folder with --out.")
    if not results.records:
        raise UsageError("there are no records to export")
    schema = table_schema(results.records)
    with atomic_folder(folder) as partial:
        with pyarrow.parquet.ParquetWriter(partial / DATA_FILE, schema) as writer:
            for batch in _batches(results.records, schema):
                writer.write_batch(batch)
        (partial / "README.md").write_text(card(results, schema), encoding="utf-8")
        for record in results.records:
            for path in results.pictures.get(record.key, ()):
                copy = partial / PICTURES / record.key / path.name
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(path.read_bytes())


def table_schema(records: Sequence[Record]) -> pa.Schema:
    """The columns that any record has, in the order of the frame, item outcomes last."""
    import numpy as np
    import pyarrow as pa

    scalars: dict[str, Any] = {}
    outcomes: dict[str, set[str]] = {}
    plain = {str: pa.string(), bool: pa.bool_(), int: pa.int64(), float: pa.float64()}
    for record in records:
        for name, value in flat_row(record).items():
            scalars.setdefault(name, plain[type(value)])
        for name, packed in record.items.items():
            outcomes.setdefault(name, set()).add(packed.dtype)
    lists = {
        f"{ITEMS}{name}": pa.list_(pa.from_numpy_dtype(np.result_type(*outcomes[name])))
        for name in sorted(outcomes)
    }
    return pa.schema([*scalars.items(), *lists.items()])


def card(results: Results, schema: pa.Schema) -> str:
    """The data set card: front matter for the hub, how it was made, and the board."""
    records = results.records
    suites = sorted({f"{record.suite} v{record.suite_version}" for record in records})
    commands = sorted({printable(record.provenance.command) for record in records})
    lines = [
        "---",
        "configs:",
        "- config_name: default",
        f"  data_files: {DATA_FILE}",
        "dataset_info:",
        "  features:",
        *(line for field in schema for line in _feature(field)),
        "---",
        "",
        f"# Benchmark records: {markdown(', '.join(suites))}",
        "",
        f"{len(records)} runs of dataset distillation methods under one protocol: one row for"
        " each task, method, budget, pair of seeds, student and evaluator.",
        "",
        "- `value` is the metric named in `main`; it and every `metric_…` are fractions",
        f"- `{ITEMS}…` hold one value for each test row, in the order of the test split",
        "- `distilled_content` and the fingerprints are hashes: equal ones mean equal content",
        "- seconds and bytes depend on the machine and on what else it did",
        *_pictures(results),
        "",
        "## How it was made",
        "",
        *(f"    {command}" for command in commands if command),
        "",
        f"Exported with distill-harness {__version__}, `harness results export`.",
        "",
        "## Leaderboard",
        "",
        _board(results),
    ]
    return "\n".join(lines)


def _board(results: Results) -> str:
    from harness.leaderboard.formats.markdown import Markdown

    try:
        return Markdown().render(build_board(results))
    except UsageError as error:
        return f"These records have no common board. {markdown(error.message)}\n"


def _pictures(results: Results) -> list[str]:
    if not any(record.key in results.pictures for record in results.records):
        return []
    return [f"- `{PICTURES}/KEY/` holds the pictures that the run with that key left"]


def _batches(records: Sequence[Record], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    for start in range(0, len(records), _AT_ONCE):
        rows = [_row(record, schema) for record in records[start : start + _AT_ONCE]]
        yield pa.RecordBatch.from_pylist(rows, schema=schema)


def _row(record: Record, schema: pa.Schema) -> Mapping[str, Any]:
    items = {
        f"{ITEMS}{name}": packed.unpack().astype(
            schema.field(f"{ITEMS}{name}").type.value_type.to_pandas_dtype()
        )
        for name, packed in record.items.items()
    }
    return {**flat_row(record), **items}


def _feature(field: pa.Field) -> list[str]:
    """One column for the front matter."""
    import pyarrow as pa

    name = f"  - name: {_quoted(field.name)}"
    if pa.types.is_list(field.type):
        return [name, f"    list: {_dtype(field.type.value_type)}"]
    return [name, f"    dtype: {_dtype(field.type)}"]


def _quoted(text: str) -> str:
    """A YAML scalar that gives the text back, whatever a plugin called its metric."""
    plain = (c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in text)
    return f'"{"".join(plain)}"'


def _dtype(kind: pa.DataType) -> str:
    """What `datasets` calls an Arrow type."""
    return {"double": "float64", "float": "float32"}.get(str(kind), str(kind))
