"""Class embeddings: the mean of a class's texts, from templates or the task."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from harness.errors import ContractError, UsageError
from harness.kit.evaluation import unfit_task
from harness.types import TaskData

PLACE = "{}"
"""Where a template takes the name of a class."""


def read_templates(templates: Sequence[str] | str) -> tuple[str, ...]:
    """Templates as given: several, one, or the path of a text file with one on each line.

    Raises:
        UsageError: no such file, an empty one, or a template without exactly one `{}`.
    """
    given = _lines(templates) if isinstance(templates, str) else tuple(templates)
    for template in given:
        if template.count(PLACE) != 1:
            raise UsageError(
                f"the template '{template}' has {template.count(PLACE)} places for the class",
                hint=f"Write {PLACE} once, as in 'a photo of a {PLACE}.'.",
            )
    return given


def texts_of_classes(task: TaskData, templates: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Each class's texts: the templates with its name or, without templates, the task's own.

    Raises:
        UsageError: neither the options nor the task have texts for every class.
        ContractError: the task has no classes.
    """
    if not task.label_names:
        raise without_classes(task)
    if templates:
        return tuple(
            tuple(template.replace(PLACE, name) for template in templates)
            for name in task.label_names
        )
    if len(task.class_texts) != len(task.label_names):
        raise UsageError(
            f"task '{task.name}' has texts for {len(task.class_texts)} of its"
            f" {len(task.label_names)} classes",
            hint="Set templates, as in --set evaluator.zero-shot.templates='a photo of a {}.'",
        )
    return task.class_texts


def without_classes(task: TaskData) -> ContractError:
    """The error for a task that has no classes to predict."""
    return unfit_task(task, "label_names", "the names of the classes", "none")


def class_embeddings(embeddings: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """[classes, width] float64: the mean of each class's unit embeddings, scaled to length 1.

    Args:
        embeddings: [texts, width], class after class.
        sizes: how many texts each class has.

    Raises:
        ContractError: the embeddings of a class cancel out.
    """
    starts = np.cumsum([0, *sizes[:-1]])
    sums = np.add.reduceat(embeddings.astype(np.float64), starts, axis=0)
    means = sums / np.asarray(sizes)[:, None]
    lengths = np.linalg.norm(means, axis=1, keepdims=True)
    if (lengths < np.finfo(np.float32).eps).any():
        raise ContractError(
            plugin="the trained student",
            field="the mean embedding of a class's texts",
            expected="a direction",
            got=f"zero for class {int(lengths.argmin())}",
        )
    return means / lengths


def _lines(templates: str) -> tuple[str, ...]:
    if not templates.strip():
        return ()
    if PLACE in templates:
        return (templates,)
    path = Path(templates)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"templates = '{templates}' is neither a template nor a text file that can be read",
            hint=f"A template has the place {PLACE}; a file has one template on each line.",
        ) from error
    found = tuple(line.strip() for line in lines if line.strip())
    if not found:
        raise UsageError(f"the file '{templates}' holds no template")
    return found
