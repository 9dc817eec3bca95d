"""Records as a pandas frame: a column for each fact, item outcomes as lists."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.records.record import Record

if TYPE_CHECKING:
    import pandas as pd


def flat_frame(records: Sequence[Record]) -> pd.DataFrame:
    """One row for each record; metrics are fractions, and absent where a run has them not."""
    import pandas as pd

    return pd.DataFrame([flat_row(record) for record in records])


def flat_row(record: Record) -> dict[str, Any]:
    """The facts of one record by column; all of them are text, numbers or truth values."""
    return {
        "key": record.key,
        "suite": record.suite,
        "suite_version": record.suite_version,
        "protocol": record.protocol,
        "task": record.task.component.label,
        "task_version": record.task.version,
        "task_fingerprint": record.task.fingerprint,
        "task_source": f"{record.task.source_kind}: {record.task.source_detail}",
        "distiller": record.distiller.label,
        "distiller_version": record.distiller.version,
        "distiller_options": json.dumps(record.distiller.options, sort_keys=True),
        "budget": record.budget,
        "distill_seed": record.distill_seed,
        "fit_seed": record.fit_seed,
        "student": record.student.component.label,
        "student_source": record.student.source,
        "student_parameters": record.student.parameters,
        "evaluator": record.evaluator.label,
        "evaluator_version": record.evaluator.version,
        "main": record.main,
        "value": record.value,
        **{f"metric_{name}": value for name, value in sorted(record.metrics.items())},
        "learning_rate": record.tuning.chosen,
        "distilled_rows": record.distilled.rows,
        "distilled_bytes": record.distilled.bytes,
        "distilled_content": record.distilled.content,
        "distill_seconds": record.costs.distill.seconds,
        "fit_seconds": record.costs.fit.seconds,
        "evaluate_seconds": record.costs.evaluate.seconds,
        "peak_bytes": max(record.costs.distill.peak_bytes, record.costs.fit.peak_bytes),
        "device": record.provenance.device,
        "commit": record.provenance.commit,
        "dirty": record.provenance.dirty,
        "created": record.provenance.created,
    }
