"""Rows with learned vectors as arrays, for a file, and back."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from harness.kit.batching import EncodedRows
from harness.kit.labelled_rows import LabelledRows
from harness.kit.learned_tokens import numbered, vocabulary_digest
from harness_trajectory.stages import Way


def way_arrays(way: Way) -> dict[str, np.ndarray]:
    """Tokens, marks, labels and vectors of the rows, one row after the other."""
    rows, prompts = way.rows.pseudo.rows, way.prompts
    arrays = {
        "ids": np.concatenate(rows.ids),
        "learned": np.concatenate(prompts.learned),
        "lengths": rows.lengths,
        "vectors": way.learnt.vectors[way.rows.pseudo.mask].cpu().numpy(),
        "vocabulary": vocabulary_digest(way.vocabulary.table),
    }
    if rows.type_ids is not None:
        arrays["type_ids"] = np.concatenate(rows.type_ids)
    if prompts.labels is not None:
        arrays["labels"] = np.concatenate(prompts.labels)
    return arrays


def read_rows(arrays: Mapping[str, np.ndarray], vocabulary: int) -> EncodedRows | LabelledRows:
    """A classifier's rows, or a language model's with labels; learned tokens have ids from
    `vocabulary` on, as `learned_tokens` reads them."""
    ends = np.cumsum(arrays["lengths"])[:-1]

    def split(name: str) -> tuple[np.ndarray, ...]:
        return tuple(np.split(arrays[name], ends))

    types = split("type_ids") if "type_ids" in arrays else None
    rows = EncodedRows(numbered(split("ids"), split("learned"), vocabulary), types)
    return LabelledRows(rows, split("labels")) if "labels" in arrays else rows
