"""Rows with learned vectors as arrays, and back."""

from __future__ import annotations

import numpy as np
import torch
from trajectory_world import make_world, prompt_masks

from harness.kit.language.labelled_rows import LabelledRows
from harness.kit.training.batching import EncodedRows
from harness.kit.trajectories.learned_embeddings import vocabulary_digest
from harness.kit.trajectories.pseudo_prompts import PseudoPrompts
from harness.kit.trajectories.vector_arrays import read_rows, vector_arrays

VOCABULARY = 100


def classified() -> PseudoPrompts:
    """Two rows of a classifier with segments, of which start and end are not learned."""
    ids = (np.array([1, 5, 6, 2]), np.array([1, 7, 2]))
    marks = tuple(np.array([0, *[1] * (len(row) - 2), 0], dtype=bool) for row in ids)
    types = tuple(np.zeros_like(row) for row in ids)
    return PseudoPrompts(EncodedRows(ids, types), marks, None, np.arange(2))


def test_learned_places_name_one_vector_after_another() -> None:
    table, vectors = torch.randn(VOCABULARY, 4), torch.randn(3, 4)
    arrays = vector_arrays(classified(), vectors, table)
    rows = read_rows(arrays, VOCABULARY)
    assert isinstance(rows, EncodedRows)
    assert [row.tolist() for row in rows.ids] == [[1, 100, 101, 2], [1, 102, 2]]
    assert rows.type_ids is not None
    assert [row.tolist() for row in rows.type_ids] == [[0, 0, 0, 0], [0, 0, 0]]
    np.testing.assert_array_equal(arrays["vectors"], vectors.numpy())
    np.testing.assert_array_equal(arrays["vocabulary"], vocabulary_digest(table))


def test_a_language_models_rows_keep_their_labels() -> None:
    encoded = make_world().encoded
    marks = prompt_masks(encoded)
    prompts = PseudoPrompts(encoded.rows, marks, encoded.labels, np.arange(len(encoded)))
    count = len(prompts.learned_ids)
    arrays = vector_arrays(prompts, torch.zeros(count, 4), torch.zeros(VOCABULARY, 4))
    rows = read_rows(arrays, 10_000)
    assert isinstance(rows, LabelledRows)
    assert [r.tolist() for r in rows.labels] == [r.tolist() for r in encoded.labels]
    pairs = zip(rows.rows.ids, encoded.rows.ids, marks, strict=True)
    for found, known, mask in pairs:
        assert found[~mask].tolist() == known[~mask].tolist()
        assert (found[mask] >= 10_000).all()
