"""Targets say which token follows each position, for the last positions that have any."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.kit.language.labelled_rows import IGNORED, LabelledRows
from harness.kit.training.batching import EncodedRows, PaddingSide

PAD = 99
row = st.lists(st.tuples(st.integers(0, 50), st.booleans()), min_size=1, max_size=9)


def make(rows: list[list[tuple[int, bool]]], side: PaddingSide = "right") -> LabelledRows:
    """Rows of (token, whether it is labelled)."""
    return LabelledRows(
        EncodedRows(tuple(np.array([token for token, _ in row]) for row in rows), side=side),
        tuple(np.array([token if own else IGNORED for token, own in row]) for row in rows),
    )


@given(st.lists(row, min_size=1, max_size=5), st.sampled_from(["left", "right"]))
def test_every_labelled_token_is_the_target_of_the_position_before_it(
    rows: list[list[tuple[int, bool]]], side: PaddingSide
) -> None:
    batch = make(rows, side).batch(range(len(rows)), PAD, "cpu")
    ids, targets = batch["input_ids"], batch["targets"]
    longest, kept = ids.shape[1], targets.shape[1]
    for index, tokens in enumerate(rows):
        shift = longest - len(tokens) if side == "left" else 0
        expected = {
            shift + place - 1: token
            for place, (token, labelled) in enumerate(tokens)
            if labelled and place > 0
        }
        found = {
            longest - kept + place: target
            for place, target in enumerate(targets[index].tolist())
            if target != IGNORED
        }
        assert found == expected
    assert kept == 1 or (targets[:, 0] != IGNORED).any()


def test_a_common_prompt_needs_no_targets() -> None:
    long = [(1, False)] * 6 + [(2, True), (3, True)]
    short = [(1, False)] * 6 + [(4, True)]
    batch = make([long, short]).batch([0, 1], PAD, "cpu")
    assert batch["targets"].tolist() == [[2, 3, IGNORED], [4, IGNORED, IGNORED]]
    assert batch["input_ids"].tolist()[1][-1] == PAD
    left = make([long, short], "left").batch([1, 0], PAD, "cpu")
    assert left["targets"].tolist() == [[IGNORED, 4, IGNORED], [2, 3, IGNORED]]


def test_rows_that_predict_nothing_are_named() -> None:
    rows = [[(1, False), (2, True)], [(1, True), (2, False)], [(1, True)], [(3, False)] * 3]
    assert make(rows).unlabelled().tolist() == [1, 2, 3]
    assert make(rows).batch([3], PAD, "cpu")["targets"].tolist() == [[IGNORED]]


def test_rows_and_labels_of_different_sizes_are_refused() -> None:
    ids = (np.array([1, 2]), np.array([3]))
    with pytest.raises(UsageError, match="2 rows with 1 rows of labels"):
        LabelledRows(EncodedRows(ids), ids[:1])
    with pytest.raises(UsageError, match="row 1 has 1 tokens and 2 labels"):
        LabelledRows(EncodedRows(ids), (ids[0], ids[0]))
    with pytest.raises(UsageError, match="row 0 has 0 tokens"):
        LabelledRows(EncodedRows((ids[0][:0],)), (ids[0][:0],))
