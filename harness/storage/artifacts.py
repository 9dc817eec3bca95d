"""Artifacts between stages: distilled sets and trained students."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.data.array_files import serialised
from harness.data.images import image_columns
from harness.records.curves import Curve
from harness.records.record import Cost
from harness.storage.atomic import pretty_json
from harness.types import DistilledData

if TYPE_CHECKING:
    from datasets import Dataset

from harness.records.record import (
    Tuning,
)
from harness.types import StudentInfo

_OWN_ARRAYS = "own.safetensors"


@dataclass(frozen=True)
class Distilled:
    """A stored distilled set, with its bill and what was drawn on the way."""

    data: DistilledData
    cost: Cost
    curves: Mapping[str, Curve] = field(default_factory=dict)
    pictures: Mapping[str, bytes] = field(default_factory=dict)


def write_distilled(folder: Path, distilled: Distilled) -> None:
    import pyarrow.parquet

    data = distilled.data
    rows = data.rows
    if data.indices is not None:
        # Positions tell which images they are, and images are what is large.
        rows = rows.remove_columns(list(image_columns(rows)))
    pyarrow.parquet.write_table(rows.with_format("arrow")[:], folder / "rows.parquet")
    arrays = {
        name: value
        for name in ("indices", "soft_labels", "weights")
        if (value := getattr(data, name)) is not None
    }
    (folder / "arrays.safetensors").write_bytes(serialised(arrays))
    if data.arrays:
        (folder / _OWN_ARRAYS).write_bytes(serialised(data.arrays))
    meta = {
        "report": dict(data.report),
        "used_splits": list(data.used_splits),
        "seconds": distilled.cost.seconds,
        "peak_bytes": distilled.cost.peak_bytes,
        "device_peak_bytes": distilled.cost.device_peak_bytes,
        "curves": {name: asdict(curve) for name, curve in distilled.curves.items()},
    }
    (folder / "meta.json").write_bytes(pretty_json(meta))
    write_pictures(folder, distilled.pictures)


def write_pictures(folder: Path, pictures: Mapping[str, bytes]) -> None:
    for name, png in pictures.items():
        (folder / f"{name}.png").write_bytes(png)


def read_distilled(folder: Path, train: Dataset) -> Distilled:
    import pyarrow.parquet
    from datasets import Dataset
    from safetensors.numpy import load_file

    meta = json.loads((folder / "meta.json").read_bytes())
    data = DistilledData(
        rows=Dataset(pyarrow.parquet.read_table(folder / "rows.parquet")),
        report=meta["report"],
        used_splits=tuple(meta["used_splits"]),
    )
    data = replace(data, **load_file(folder / "arrays.safetensors"))
    if (folder / _OWN_ARRAYS).exists():
        data = replace(data, arrays=load_file(folder / _OWN_ARRAYS))
    images = image_columns(train)
    if data.indices is not None and images:
        columns = [
            name for name in train.column_names if name in {*images, *data.rows.column_names}
        ]
        data = replace(data, rows=train.select_columns(columns).select(data.indices))
    cost = Cost(meta["seconds"], meta["peak_bytes"], meta["device_peak_bytes"])
    pictures = {path.stem: path.read_bytes() for path in sorted(folder.glob("*.png"))}
    return Distilled(data, cost, curves_from_json(meta["curves"]), pictures)


def curves_from_json(plain: Mapping[str, Any]) -> dict[str, Curve]:
    """Curves as `dataclasses.asdict` and JSON left them."""
    return {name: Curve(tuple(c["steps"]), tuple(c["values"])) for name, c in plain.items()}


@dataclass(frozen=True)
class Fitted:
    """A trained student with how its learning rate was chosen and what it cost."""

    trained: Any
    info: StudentInfo
    tuning: Tuning
    cost: Cost
    curves: Mapping[str, Curve] = field(default_factory=dict)
