"""Content hashes: the one way a key or a fingerprint is made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import Dataset

    from harness.types import TaskData

KEY_VERSION = 1
"""Raised when the meaning of keys changes, so that old records are never taken for new ones."""


def canonical_json(value: Any) -> str:
    """JSON with sorted keys, no blanks and no NaN: equal values give equal text."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def digest(value: Any) -> str:
    """64 hexadecimal digits that identify a JSON value."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def stage_key(kind: str, inputs: Mapping[str, Any]) -> str:
    """A stage's key: the first 32 digits over its kind, its inputs and the key version."""
    return digest({"kind": kind, "key_version": KEY_VERSION, "inputs": dict(inputs)})[:32]


def rows_digest(rows: Dataset) -> str:
    """Content hash of a table: column names and every value, in order.

    An image counts by the bytes of its file, wherever that lies.
    """
    from harness.data.images import image_bytes, image_columns

    state = hashlib.sha256()
    images = image_columns(rows)
    table = rows.select_columns([n for n in rows.column_names if n not in images])
    table = table.with_format("arrow")[:]
    for name in sorted(rows.column_names):
        state.update(f"column {name}\n".encode())
        values = image_bytes(rows, name) if name in images else table.column(name).to_pylist()
        _update(state, values)
    return state.hexdigest()


def task_fingerprint(task: TaskData) -> str:
    """Identity of a task's data: name, version, source, texts of the classes, every split."""
    texts = {"class_texts": [list(texts) for texts in task.class_texts]} if task.class_texts else {}
    return digest(
        {
            **texts,
            "name": task.name,
            "version": task.version,
            "metric": task.metric,
            "input_columns": list(task.input_columns),
            "label_names": list(task.label_names),
            "source": [task.source.kind, task.source.detail],
            "splits": {split: rows_digest(rows) for split, rows in task.splits.items()},
        }
    )


def _update(state: hashlib._Hash, values: Iterable[Any]) -> None:
    for value in values:
        encoded = value if isinstance(value, bytes) else canonical_json(value).encode()
        state.update(len(encoded).to_bytes(8, "big"))
        state.update(encoded)
