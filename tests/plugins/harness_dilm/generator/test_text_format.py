"""Rows are written as `<bos_c> field <sep> field <end>` and read back."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from datasets import Dataset
from dilm_world import make_task
from hypothesis import given
from hypothesis import strategies as st

from harness import UsageError
from harness.types import TaskData
from harness_dilm.generator.model import Generator
from harness_dilm.generator.text_format import shortened


@pytest.mark.parametrize("fields", [1, 2, 3])
def test_a_sequence_has_one_class_token_one_end_and_a_separator_between_fields(
    make_generator: Callable[..., Generator], fields: int
) -> None:
    task = make_task(fields=fields)
    form = make_generator(task, max_length=64).format
    sequences = form.encode(task.train, 64)
    for ids, label in zip(sequences.ids, task.train["label"], strict=True):
        assert ids[0] == form.class_ids[label]
        assert ids[-1] == form.end
        assert (ids == form.end).sum() == 1
        assert np.isin(ids, form.class_ids).sum() == 1
        assert (ids == form.separator).sum() == fields - 1


def test_fields_come_back_as_they_were(
    make_generator: Callable[..., Generator], pair_task: TaskData
) -> None:
    form = make_generator(pair_task, max_length=64).format
    rows = Dataset.from_dict(
        {"text0": [" naïve 😀, isn't it? ", "x"], "text1": ["<sep> <bos_1>", "é"], "label": [0, 1]}
    )
    read = [form.fields(ids) for ids in form.encode(rows, 64).ids]
    assert read == [("naïve 😀, isn't it?", "<sep> <bos_1>"), ("x", "é")]


def test_text_cannot_spell_the_end_token(generator: Generator) -> None:
    rows = Dataset.from_dict({"text": ["a <|endoftext|> b"], "label": [0]})
    ids = generator.format.encode(rows, 32).ids[0]
    assert (ids == generator.format.end).sum() == 1


def test_a_cut_sequence_is_read_without_an_end_token(generator: Generator, task: TaskData) -> None:
    ids = generator.format.encode(task.train, 32).ids[0]
    assert generator.format.fields(ids[:-1]) == generator.format.fields(ids)


def test_missing_and_empty_fields_are_not_well_formed(
    make_generator: Callable[..., Generator], pair_task: TaskData
) -> None:
    form = make_generator(pair_task).format
    assert form.is_well_formed(("a", "b"))
    assert not form.is_well_formed(("a",))
    assert not form.is_well_formed(("a", ""))
    blank = form.join(0, [[], form.tokenizer(" b").input_ids])
    assert not form.is_well_formed(form.fields(blank))


def test_long_rows_keep_every_field_and_the_end_token(
    make_generator: Callable[..., Generator], pair_task: TaskData
) -> None:
    form = make_generator(pair_task).format
    rows = Dataset.from_dict({"text0": ["film"], "text1": ["cast " * 50], "label": [1]})
    ids = form.encode(rows, 12).ids[0]
    assert len(ids) == 12
    assert ids[-1] == form.end
    assert form.fields(ids)[0] == "film"
    assert set(form.fields(ids)[1].split()) <= {"cast", "cas", "ca", "c"}


def test_a_limit_without_room_for_the_fields_is_refused(
    make_generator: Callable[..., Generator], pair_task: TaskData
) -> None:
    with pytest.raises(UsageError, match="leaves no room for 2 text fields"):
        make_generator(pair_task).format.encode(pair_task.train, 4)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=4), st.integers(4, 80))
def test_parts_share_the_room_evenly_and_waste_none(lengths: list[int], room: int) -> None:
    parts = [list(range(n)) for n in lengths]
    kept = [len(part) for part in shortened(parts, room)]
    assert sum(kept) == min(room, sum(lengths))
    assert all(0 < k <= n for k, n in zip(kept, lengths, strict=True))
    cut = [k for k, n in zip(kept, lengths, strict=True) if k < n]
    if cut:
        assert max(kept) - min(cut) <= 1
