"""Rows with learned vectors as arrays, for a file; back again, and a student trained on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.context import StageContext
from harness.errors import UsageError
from harness.kit.language.labelled_rows import LabelledRows
from harness.kit.training.batching import EncodedRows
from harness.kit.trajectories.learned_embeddings import (
    learned_embeddings,
    numbered,
    vocabulary_digest,
)
from harness.kit.trajectories.pseudo_prompts import PseudoPrompts
from harness.protocols import Student
from harness.types import DistilledData, Recipe, TaskData


def vector_arrays(prompts: PseudoPrompts, vectors: Tensor, table: Tensor) -> dict[str, np.ndarray]:
    """Tokens, marks, labels and vectors of the rows, one row after the other.

    vectors: [k, d] of the learned positions; table: the embeddings they were learned among.
    """
    rows = prompts.rows
    arrays = {
        "ids": np.concatenate(rows.ids),
        "learned": np.concatenate(prompts.learned),
        "lengths": rows.lengths,
        "vectors": vectors.cpu().numpy(),
        "vocabulary": vocabulary_digest(table),
    }
    if rows.type_ids is not None:
        arrays["type_ids"] = np.concatenate(rows.type_ids)
    if prompts.labels is not None:
        arrays["labels"] = np.concatenate(prompts.labels)
    return arrays


def read_rows(arrays: Mapping[str, np.ndarray], vocabulary: int) -> EncodedRows | LabelledRows:
    """A classifier's rows, or a language model's with labels; learned tokens have ids from
    `vocabulary` on, as `learned_embeddings` reads them."""
    ends = np.cumsum(arrays["lengths"])[:-1]

    def split(name: str) -> tuple[np.ndarray, ...]:
        return tuple(np.split(arrays[name], ends))

    types = split("type_ids") if "type_ids" in arrays else None
    rows = EncodedRows(numbered(split("ids"), split("learned"), vocabulary), types)
    return LabelledRows(rows, split("labels")) if "labels" in arrays else rows


def train_on_vectors(
    task: TaskData,
    student: Student,
    data: DistilledData,
    recipe: Recipe,
    context: StageContext,
    *,
    proxy: str,
    as_text: str,
) -> Any:
    """The student trained by its own loop, with `data.arrays`' vectors in the places of tokens.

    Rows are as long as they were learned, whatever the recipe's `max_length`.

    Args:
        proxy: what the vectors were learned with; as_text: the method whose rows are text.

    Raises:
        UsageError: the student has other input embeddings than the proxy, such as those of
            another architecture, or weights that are drawn anew for each seed.
    """
    learner: Any = student
    length = {} if task.modality == "instruction" else {"max_length": recipe.max_length}
    model = learner.build(task, context, **length)
    table = model.model.get_input_embeddings().weight
    if (vocabulary_digest(table) != data.arrays["vocabulary"]).any():
        raise UsageError(
            f"the vectors were learned among the input embeddings of '{proxy}', and this student"
            " has others",
            hint=f"Train the proxy itself, from a checkpoint, or take `{as_text}`, whose rows are"
            " text.",
        )
    with learned_embeddings(model.model, torch.from_numpy(data.arrays["vectors"])):
        encoded = read_rows(data.arrays, len(table))
        return learner.fit_encoded(model, encoded, task, data, recipe, context)
