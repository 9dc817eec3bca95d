"""A distilled set or model for use elsewhere, with a card that says how it was made."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.data.array_files import serialised
from harness.data.images import image_columns
from harness.plan import Cell
from harness.storage.artifacts import Distilled, Fitted
from harness.storage.atomic import atomic_folder
from harness.types import LABEL_COLUMN, TaskData
from harness.version import __version__

_CATEGORIES = {"instruction": "text-generation"}
"""What the hub calls a modality, where that differs."""


def export_distilled(folder: Path, cell: Cell, distilled: Distilled) -> None:
    """Writes `data.jsonl`, `data.parquet` and `README.md` into a new folder.

    Soft labels and weights become the columns `soft_label` and `weight`; a selection keeps its
    positions in the train split as `train_index`. Images stand in the Parquet file alone, arrays
    of the method's own in `arrays.safetensors`.
    """
    import pyarrow.parquet

    rows = _all_columns(distilled)
    with atomic_folder(folder) as partial:
        pyarrow.parquet.write_table(rows.with_format("arrow")[:], partial / "data.parquet")
        with (partial / "data.jsonl").open("w", encoding="utf-8") as file:
            for row in rows.remove_columns(list(image_columns(rows))):
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        if distilled.data.arrays:
            (partial / "arrays.safetensors").write_bytes(serialised(distilled.data.arrays))
        (partial / "README.md").write_text(card(cell, distilled), encoding="utf-8")


def export_model(folder: Path, cell: Cell, fitted: Fitted) -> None:
    """Writes what `Student.load` reads into `model/` of a new folder, and `README.md` beside it."""
    with atomic_folder(folder) as partial:
        fitted.trained.save(partial / "model")
        (partial / "README.md").write_text(model_card(cell, fitted), encoding="utf-8")


def card(cell: Cell, distilled: Distilled) -> str:
    """The data set card, with the front matter that the Hugging Face hub reads."""
    data, task = distilled.data, cell.task.data
    counts = ", ".join(
        f"{name}: {count}"
        for name, count in zip(task.label_names, _counts(distilled, task), strict=True)
    )
    shares = f" ({counts})" if counts else ""
    front = [
        "configs:",
        "- config_name: default",
        "  data_files: data.parquet",
        "task_categories:",
        f"- {_CATEGORIES.get(task.modality, task.modality)}",
    ]
    facts = {
        "splits used": ", ".join(data.used_splits),
        "budget": str(cell.budget),
        "rows": f"{len(data.rows)}{shares}",
        "seed": str(cell.distill_seed),
        "seconds": f"{distilled.cost.seconds:.1f}",
        "stage key": cell.distill_key,
    }
    sections = {
        "Options": dict(cell.distiller.options),
        "What the method reports": dict(data.report),
    }
    return _document(front, f"{task.name} at {cell.budget}", cell, facts, sections)


def model_card(cell: Cell, fitted: Fitted) -> str:
    """The model card, with the front matter that the Hugging Face hub reads."""
    info = fitted.info
    facts = {
        "student": f"{cell.student.label} ({info.name} {info.variant}".rstrip() + ")",
        "parameters": f"{info.parameters:,}",
        "started from": info.source,
        "seeds": f"{cell.distill_seed}/{cell.fit_seed}",
        "seconds": f"{fitted.cost.seconds:.1f}",
        "stage key": cell.fit_key,
    }
    recipe = {**asdict(cell.recipe), "learning_rate": fitted.tuning.chosen}
    sections = {
        "Options": dict(cell.distiller.options),
        "Options of the student": dict(cell.student.options),
        "Recipe": recipe,
    }
    title = f"{cell.student.label} on {cell.task.data.name}"
    return _document(["library_name: distill-harness"], title, cell, facts, sections)


def _document(
    front: Sequence[str],
    title: str,
    cell: Cell,
    facts: Mapping[str, str],
    sections: Mapping[str, dict[str, Any]],
) -> str:
    """A card: front matter, what was made of which task, facts in a list, sections of JSON."""
    task, component = cell.task.data, cell.distiller.component
    known = {
        "distiller": f"{cell.distiller.label} (version {component.version},"
        f" {component.distribution})",
        "task": f"{task.name} (version {task.version})",
        "source of the task": f"{task.source.kind}: {task.source.detail}",
        "task fingerprint": cell.task.fingerprint,
        **facts,
        "made with": f"distill-harness {__version__}",
    }
    blocks = [
        line
        for name, content in sections.items()
        for line in ("", f"## {name}", "", *_json_block(content))
    ]
    listed = [f"- {name}: {value}" for name, value in known.items()]
    heading = f"# {cell.distiller.label}: {title}"
    return "\n".join(["---", *front, "---", "", heading, "", *listed, *blocks, ""])


def _all_columns(distilled: Distilled) -> Any:
    data = distilled.data
    rows = data.rows
    extra = {
        "train_index": data.indices,
        "soft_label": data.soft_labels,
        "weight": data.weights,
    }
    for name, values in extra.items():
        if values is not None:
            rows = rows.add_column(name, values.tolist())
    return rows


def _counts(distilled: Distilled, task: TaskData) -> list[int]:
    """Rows of each class; empty for a task without classes."""
    import numpy as np

    if not task.label_names:
        return []
    labels = np.asarray(distilled.data.rows[LABEL_COLUMN])
    return np.bincount(labels, minlength=len(task.label_names)).tolist()


def _json_block(value: dict[str, Any]) -> list[str]:
    return ["```json", json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False), "```"]
