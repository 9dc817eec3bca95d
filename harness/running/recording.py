"""From a finished or failed cell to its record or failure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from harness.data.images import image_bytes, image_columns, thumbnail
from harness.fingerprint import digest, rows_digest
from harness.machine.provenance import provenance
from harness.plan import Cell, Plan
from harness.records.curves import named
from harness.records.failure import Failure
from harness.records.record import (
    ComponentRecord,
    Costs,
    DistilledRecord,
    PackedArray,
    Record,
    StudentRecord,
    TaskRecord,
)
from harness.registry.components import ConfiguredComponent, DistillerComponent, distiller_component
from harness.storage.artifacts import Distilled, Fitted
from harness.types import DistilledData, Score

SAMPLES = 6
SAMPLE_CHARACTERS = 240
"""What a record shows of a set: enough to see what it is like, small enough for git."""


def make_record(
    plan: Plan,
    cell: Cell,
    distilled: Distilled,
    fitted: Fitted,
    score: Score,
    costs: Costs,
    device: str,
) -> Record:
    """The document that a finished cell leaves behind."""
    recipe = {**dataclasses.asdict(cell.recipe), "learning_rate": fitted.tuning.chosen}
    return Record(
        key=cell.key,
        distill_key=cell.distill_key,
        fit_key=cell.fit_key,
        suite=plan.suite.name,
        suite_version=plan.suite.version,
        protocol=cell.protocol,
        task=_task_record(cell),
        distiller=_component_record(cell.distiller),
        distilled=DistilledRecord(
            rows=len(distilled.data.rows),
            bytes=distilled_bytes(distilled),
            content=distilled_content(distilled),
            produces=distiller_component(cell.distiller).produces,
            used_splits=tuple(distilled.data.used_splits),
            report=dict(distilled.data.report),
            samples=samples_of(distilled.data),
            soft_labels=distilled.data.soft_labels is not None,
        ),
        budget=str(cell.budget),
        distill_seed=cell.distill_seed,
        fit_seed=cell.fit_seed,
        student=StudentRecord(
            component=_component_record(cell.student),
            variant=fitted.info.variant,
            source=fitted.info.source,
            parameters=fitted.info.parameters,
            multiply_adds=fitted.info.multiply_adds,
        ),
        recipe=recipe,
        tuning=fitted.tuning,
        evaluator=_component_record(cell.evaluator),
        main=score.main,
        metrics={name: float(value) for name, value in score.metrics.items()},
        items={name: PackedArray.pack(values) for name, values in score.items.items()},
        costs=costs,
        provenance=provenance(device),
        curves={**named("distill", distilled.curves), **named("fit", fitted.curves)},
        scored=score.scored,
        pool=cell.pool,
    )


def make_failure(
    cell: Cell,
    *,
    stage: Literal["distill", "fit", "evaluate", "unknown"],
    error: str,
    message: str,
    trace: str = "",
) -> Failure:
    """The report that a failed cell leaves behind."""
    return Failure(
        key=cell.key,
        task=cell.task.component.label,
        distiller=cell.distiller.label,
        budget=str(cell.budget),
        student=cell.student.label,
        evaluator=cell.evaluator.label,
        distill_seed=cell.distill_seed,
        fit_seed=cell.fit_seed,
        stage=stage,
        error=error,
        message=message,
        trace=trace,
    )


def samples_of(data: DistilledData) -> tuple[dict[str, str], ...]:
    """Rows spread evenly over a set, their values as text, cut where they are long.

    An image becomes the `data:` address of a thumbnail.
    """
    count = min(SAMPLES, len(data.rows))
    positions = [index * len(data.rows) // count for index in range(count)]
    rows = data.rows.select(positions)
    images = {name: list(image_bytes(rows, name)) for name in image_columns(rows)}
    texts = rows.remove_columns(list(images))
    return tuple(
        {
            **{name: thumbnail(contents[place]) for name, contents in images.items()},
            **{name: _cut(str(value)) for name, value in row.items()},
        }
        for place, row in enumerate(texts)
    )


def _cut(text: str) -> str:
    return text if len(text) <= SAMPLE_CHARACTERS else f"{text[: SAMPLE_CHARACTERS - 1]}…"


def distilled_bytes(distilled: Distilled) -> int:
    """Bytes that training on a set needs: values, and soft labels, weights and other arrays.

    A text counts its UTF-8 bytes, a number its width and an image its file, so that the size does
    not depend on how a table happens to lie in memory.
    """
    data = distilled.data
    images = image_columns(data.rows)
    table = data.rows.remove_columns(list(images)).with_format("arrow")[:]
    arrays = (data.soft_labels, data.weights, *data.arrays.values())
    columns = sum(_column_bytes(table.column(name)) for name in table.column_names)
    columns += sum(len(content) for name in images for content in image_bytes(data.rows, name))
    return columns + sum(array.nbytes for array in arrays if array is not None)


def _column_bytes(column: Any) -> int:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_primitive(column.type):
        return len(column) * column.type.bit_width // 8
    return int(pc.sum(pc.binary_length(column)).as_py() or 0)


def distilled_content(distilled: Distilled) -> str:
    """Content hash of a distilled set."""
    data = distilled.data
    arrays: Mapping[str, Any] = {
        "soft_labels": None if data.soft_labels is None else data.soft_labels.tolist(),
        "weights": None if data.weights is None else data.weights.tolist(),
    }
    own = {f"arrays {name}": digest(array.tolist()) for name, array in data.arrays.items()}
    return digest({"rows": rows_digest(data.rows), **arrays, **own})


def _task_record(cell: Cell) -> TaskRecord:
    data = cell.task.data
    return TaskRecord(
        component=_component_record(cell.task.component),
        fingerprint=cell.task.fingerprint,
        test_fingerprint=cell.task.test_fingerprint,
        version=data.version,
        metric=data.metric,
        source_kind=data.source.kind,
        source_detail=data.source.detail,
        rows={split: len(rows) for split, rows in data.splits.items()},
        label_names=data.label_names,
    )


def _component_record(configured: ConfiguredComponent) -> ComponentRecord:
    component = configured.component
    return ComponentRecord(
        name=component.name,
        label=configured.label,
        version=component.version,
        plugin=component.plugin,
        distribution=component.distribution,
        options=dict(configured.options),
        fingerprint=configured.identity.get("fingerprint", ""),
        reference=isinstance(component, DistillerComponent) and component.reference,
    )
