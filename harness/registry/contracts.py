"""Contract checks: what comes out of a plugin is what it promised, or the cell fails."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from harness.budget import Budget
from harness.data.images import decode_image, image_bytes, image_columns, undecoded
from harness.errors import ContractError, HarnessError
from harness.registry.components import Component, DistillerComponent
from harness.types import (
    ANSWER_COLUMN,
    CHOICES_COLUMN,
    IMAGE_COLUMN,
    LABEL_COLUMN,
    DistilledData,
    Score,
    Split,
    StudentInfo,
    TaskData,
)

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset

IMAGES_LOOKED_AT = 64
"""Images of a split that are decoded by the check; another one that is damaged is named in use."""


class _Border:
    """Checks on behalf of one component; every breach names it."""

    def __init__(self, component: Component) -> None:
        self._who = f"{component.kind} '{component.name}' of plugin '{component.plugin}'"

    def require(self, holds: bool, *, field: str, expected: str, got: object) -> None:
        if not holds:
            raise ContractError(plugin=self._who, field=field, expected=expected, got=str(got))

    def kind(self, value: object, expected: type, *, field: str) -> None:
        got = f"{type(value).__name__}"
        self.require(isinstance(value, expected), field=field, expected=expected.__name__, got=got)


def check_task(component: Component, task: TaskData) -> None:
    """A task has its three splits and columns, labels and answers in range, no empty text, images
    that can be read, and texts for each class where it has images and classes.

    Raises:
        ContractError: the first breach found.
    """
    border = _Border(component)
    border.kind(task, TaskData, field="what load returned")
    border.require(
        bool(task.label_names) or task.modality != "text-classification",
        field="label_names",
        expected="the names of the classes",
        got="none",
    )
    _check_class_texts(border, task)
    for split in ("train", "validation", "test"):
        border.require(
            split in task.splits, field="splits", expected=f"a {split} split", got=set(task.splits)
        )
        rows = task.splits[split]
        border.require(len(rows) > 0, field=split, expected="at least one row", got=0)
        target = task.scoring_columns if split != "train" else ()
        _check_columns(border, rows, (*task.row_columns, *target), field=split)
        _check_labels(border, rows, task, field=split)
        _check_texts(border, rows, task, field=split)
        _check_images(border, rows, task, field=split)
        if CHOICES_COLUMN in target:
            _check_choices(border, rows, field=split)
    empty = [task.label_names[c] for c, n in enumerate(task.class_counts()) if n == 0]
    border.require(not empty, field="train", expected="rows of every class", got=f"none of {empty}")


def check_distilled(
    component: DistillerComponent, data: DistilledData, task: TaskData, budget: Budget
) -> None:
    """A distilled set keeps budget, columns, labels, shapes and split, and is finite throughout.

    Raises:
        ContractError: the first breach found.
    """
    border = _Border(component)
    border.kind(data, DistilledData, field="what distill returned")
    allowed = task.budget_rows(budget)
    border.require(
        0 < len(data.rows) <= allowed,
        field="rows",
        expected=f"1 to {allowed} (budget {budget})",
        got=len(data.rows),
    )
    _check_columns(border, data.rows, task.row_columns, field="rows")
    _check_labels(border, data.rows, task, field="rows")
    _check_texts(border, data.rows, task, field="rows")
    if component.produces != "selection":
        _check_images(border, data.rows, task, field="rows")
    _check_used_splits(border, data.used_splits)
    _check_report(border, data.report)
    _check_selection(border, component, data, task)
    n = len(data.rows)
    if data.soft_labels is not None:
        border.require(
            bool(task.label_names), field="soft_labels", expected="None: there are no classes",
            got="an array",
        )  # fmt: skip
        shape = (n, len(task.label_names))
        _check_array(border, data.soft_labels, shape, field="soft_labels")
        sums = data.soft_labels.sum(axis=1)
        border.require(
            bool(abs(sums - 1).max() < 1e-3),
            field="soft_labels",
            expected="rows that sum to 1",
            got=f"sums from {sums.min():.4g} to {sums.max():.4g}",
        )
    _check_own_arrays(border, component, data)
    if data.weights is not None:
        _check_array(border, data.weights, (n,), field="weights")
        border.require(
            bool(data.weights.sum() > 0), field="weights", expected="a positive sum", got=0
        )


def check_trained(component: DistillerComponent, trained: object) -> None:
    """What a model distiller returned can say what it is, and be saved.

    Raises:
        ContractError: it cannot.
    """
    border = _Border(component)
    border.kind(getattr(trained, "info", None), StudentInfo, field="info of what fit returned")
    border.require(
        callable(getattr(trained, "save", None)), field="what fit returned",
        expected="an object that can save", got=type(trained).__name__,
    )  # fmt: skip


def check_score(component: Component, score: Score, task: TaskData, split: Split) -> None:
    """A score declares its main metric, and all fractions and items are finite and in [0, 1].

    Raises:
        ContractError: the first breach found.
    """
    border = _Border(component)
    border.kind(score, Score, field="what evaluate returned")
    border.require(
        score.main in score.metrics, field="main", expected=f"one of {set(score.metrics)}",
        got=repr(score.main),
    )  # fmt: skip
    for name, value in score.metrics.items():
        border.require(
            isinstance(value, int | float) and math.isfinite(value) and 0 <= value <= 1,
            field=f"metrics[{name!r}]",
            expected="a finite fraction in [0, 1]",
            got=value,
        )
    border.require(
        "score" in score.items, field="items", expected="an array 'score'", got=set(score.items)
    )
    border.require(
        score.scored is None or score.scored > 0, field="scored",
        expected="None or a positive number of items", got=score.scored,
    )  # fmt: skip
    n = len(task.split(split)) if score.scored is None else score.scored
    for name, values in score.items.items():
        border.require(
            len(values) == n, field=f"items[{name!r}]", expected=f"{n} values", got=len(values)
        )
    _check_array(border, score.items["score"], (n,), field="items['score']", upper=1.0)


def check_capabilities(evaluator: Component, needs: tuple[str, ...], trained: object) -> None:
    """A trained student offers every method that an evaluator needs.

    Raises:
        ContractError: it lacks one.
    """
    border = _Border(evaluator)
    for need in needs:
        border.require(
            callable(getattr(trained, need, None)),
            field="the trained student",
            expected=f"an object that can {need}",
            got=type(trained).__name__,
        )


def _check_columns(
    border: _Border, rows: Dataset, expected: tuple[str, ...], *, field: str
) -> None:
    border.require(
        sorted(rows.column_names) == sorted(expected),
        field=f"columns of {field}",
        expected=str([*expected]),
        got=rows.column_names,
    )


def _check_labels(border: _Border, rows: Dataset, task: TaskData, *, field: str) -> None:
    import numpy as np

    if not task.label_names:
        return
    labels = np.asarray(rows[LABEL_COLUMN][:])
    classes = len(task.label_names)
    fine = labels.dtype.kind in "iu" and labels.min() >= 0 and labels.max() < classes
    shown = f"{labels.dtype} from {labels.min()} to {labels.max()}"
    border.require(
        bool(fine), field=f"labels of {field}", expected=f"integers in [0, {classes})", got=shown
    )


def _check_texts(border: _Border, rows: Dataset, task: TaskData, *, field: str) -> None:
    images = image_columns(rows)
    for column in (name for name in task.input_columns if name not in images):
        for position, value in enumerate(rows[column][:]):
            if isinstance(value, str) and not value.strip():
                border.require(
                    False, field=f"column '{column}' of {field}", expected="text in every row",
                    got=f"an empty text in row {position}",
                )  # fmt: skip


def _check_images(border: _Border, rows: Dataset, task: TaskData, *, field: str) -> None:
    """Every image is there, and the ones looked at, evenly spaced, can be read."""
    if task.modality != "image-text":
        return
    border.require(
        image_columns(rows) == (IMAGE_COLUMN,),
        field=f"column 'image' of {field}",
        expected="a datasets.Image",
        got=rows.features[IMAGE_COLUMN],
    )
    where = f"the split '{field}' of '{task.name}'"
    looked_at = set(range(0, len(rows), max(1, len(rows) // IMAGES_LOOKED_AT)))
    try:
        for position, content in enumerate(image_bytes(rows, IMAGE_COLUMN, where)):
            if position in looked_at:
                decode_image(content, f"row {position} of {where}")
    except HarnessError as error:
        border.require(
            False, field=f"column 'image' of {field}", expected="images in every row",
            got=f"none: {error.message}",
        )  # fmt: skip


def _check_class_texts(border: _Border, task: TaskData) -> None:
    classes = len(task.label_names) if task.modality == "image-text" else 0
    border.require(
        len(task.class_texts) == classes,
        field="class_texts",
        expected=f"texts for {classes} classes",
        got=f"for {len(task.class_texts)}",
    )
    for name, texts in zip(task.label_names, task.class_texts, strict=False):
        border.require(
            not isinstance(texts, str) and len(texts) > 0 and all(text.strip() for text in texts),
            field="class_texts",
            expected="one text or more for each class, none of them empty",
            got=f"{texts!r} for '{name}'",
        )


def _check_choices(border: _Border, rows: Dataset, *, field: str) -> None:
    """At least two choices a row, none of them blank, and the number of the right one."""
    for position, (choices, answer) in enumerate(
        zip(rows[CHOICES_COLUMN][:], rows[ANSWER_COLUMN][:], strict=True)
    ):
        border.require(
            len(choices) >= 2 and all(isinstance(c, str) and c.strip() for c in choices),
            field=f"choices of {field}",
            expected="two or more texts in every row",
            got=f"{choices} in row {position}",
        )
        border.require(
            isinstance(answer, int) and 0 <= answer < len(choices),
            field=f"answer of {field}",
            expected=f"an integer in [0, {len(choices)})",
            got=f"{answer!r} in row {position}",
        )


def _check_used_splits(border: _Border, used: tuple[str, ...]) -> None:
    border.require(
        set(used) <= {"train", "validation"},
        field="used_splits",
        expected="train and validation only",
        got=used,
    )


def _check_report(border: _Border, report: Mapping[str, Any]) -> None:
    for name, value in report.items():
        plain = isinstance(value, str) or (
            isinstance(value, int | float) and math.isfinite(float(value))
        )
        border.require(
            plain, field=f"report[{name!r}]", expected="a finite number or a string", got=value
        )


def _check_selection(
    border: _Border, component: DistillerComponent, data: DistilledData, task: TaskData
) -> None:
    if component.produces != "selection":
        return
    border.require(
        data.indices is not None, field="indices", expected="positions in train", got=None
    )
    assert data.indices is not None
    indices = data.indices
    distinct = len(set(indices.tolist()))
    fine = (
        indices.shape == (len(data.rows),)
        and distinct == len(indices)
        and indices.min() >= 0
        and indices.max() < len(task.train)
    )
    border.require(
        bool(fine),
        field="indices",
        expected=f"{len(data.rows)} distinct positions in [0, {len(task.train)})",
        got=f"{distinct} distinct of shape {indices.shape}",
    )
    columns = list(task.row_columns)
    rows, train = (undecoded(part.select_columns(columns)) for part in (data.rows, task.train))
    same = rows[:] == train[indices]
    border.require(
        same, field="rows", expected="the train rows at indices", got="other rows (not a selection)"
    )


def _check_own_arrays(border: _Border, component: DistillerComponent, data: DistilledData) -> None:
    import numpy as np

    expects = component.produces == "arrays"
    border.require(
        bool(data.arrays) == expects,
        field="arrays",
        expected="arrays, since it trains the student itself" if expects else "none",
        got=", ".join(data.arrays) or "none",
    )
    for name, values in data.arrays.items():
        border.require(
            bool(np.isfinite(values).all()), field=f"arrays {name}", expected="finite numbers",
            got=f"{int((~np.isfinite(values)).sum())} that are not",
        )  # fmt: skip


def _check_array(
    border: _Border,
    values: np.ndarray,
    shape: tuple[int, ...],
    *,
    field: str,
    upper: float = math.inf,
) -> None:
    import numpy as np

    border.require(values.shape == shape, field=field, expected=f"shape {shape}", got=values.shape)
    finite = np.isfinite(values)
    border.require(
        bool(finite.all()),
        field=field,
        expected="finite numbers",
        got=f"{int((~finite).sum())} that are not",
    )
    inside = (values >= 0) & (values <= upper)
    border.require(
        bool(inside.all()),
        field=field,
        expected="non-negative numbers" if upper == math.inf else f"numbers in [0, {upper:g}]",
        got=f"{values.min():.4g} to {values.max():.4g}",
    )
