"""Which rows of pool and target LESS can look at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from less_world import make_context, planted_task

from causal_models import byte_tokenizer
from harness.errors import UsageError
from harness.kit.language.encoding import InstructionEncoder
from harness.kit.language.labelled_rows import IGNORED, LabelledRows
from harness.kit.training.batching import EncodedRows
from harness.types import TaskData
from harness_less.rows import (
    DistinctRows,
    ReadableRows,
    draw_examples,
    read_target,
    readable_rows,
)

SHORT = [("what colour is grass? ", "green"), ("and snow? ", "white")]


def encoder(max_length: int = 24) -> InstructionEncoder:
    return InstructionEncoder(byte_tokenizer(starts=True), max_length)


class TestReadable:
    def test_a_completion_that_does_not_fit_is_left_out_and_the_others_stay(
        self, tmp_path: Path
    ) -> None:
        pairs = [SHORT[0], ("why? ", "z" * 99), *SHORT, ("so? ", "y" * 99)]
        found = readable_rows(encoder(), pairs, make_context(tmp_path), "reading")
        assert found.positions.tolist() == [0, 2, 3]
        assert found.total == 5
        plain = encoder().encode([SHORT[0], *SHORT], end=True)
        for ids, expected in zip(found.encoded.rows.ids, plain.rows.ids, strict=True):
            assert ids.tolist() == expected.tolist()

    def test_a_prompt_that_fills_the_length_keeps_the_whole_completion(
        self, tmp_path: Path
    ) -> None:
        found = readable_rows(
            encoder(), [("why " * 50, "green")], make_context(tmp_path), "reading"
        )
        labels = found.encoded.labels[0]
        kept = labels[labels != IGNORED]
        assert len(labels) == 24
        assert encoder().tokenizer.decode(kept, skip_special_tokens=True).strip() == "green"

    def test_no_readable_row_at_all_is_the_error_of_the_first(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="does not fit into 24 tokens"):
            readable_rows(encoder(), [("a ", "z" * 99)] * 3, make_context(tmp_path), "reading")


def rows_of(contents: list[list[int]]) -> ReadableRows:
    ids = tuple(np.array([1, *content]) for content in contents)
    rows = LabelledRows(EncodedRows(ids), ids)
    return ReadableRows(rows, np.arange(len(ids)), len(ids))


class TestDistinct:
    @given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=2), min_size=1, max_size=8))
    def test_each_row_finds_its_own_tokens_again(self, contents: list[list[int]]) -> None:
        distinct = DistinctRows.of(rows_of(contents))
        assert len(distinct) == len({tuple(content) for content in contents})
        for row, content in enumerate(contents):
            assert distinct.encoded.rows.ids[distinct.place[row]].tolist() == [1, *content]

    @given(st.permutations([[0], [1], [2, 0], [2, 1], [0]]))
    def test_the_order_of_the_pool_is_forgotten(self, contents: list[list[int]]) -> None:
        expected = DistinctRows.of(rows_of([[0], [1], [2, 0], [2, 1]]))
        assert DistinctRows.of(rows_of(contents)).digest == expected.digest

    def test_labels_tell_rows_apart(self) -> None:
        ids = np.array([1, 2, 3])
        labels = (ids, np.array([IGNORED, IGNORED, 3]))
        rows = LabelledRows(EncodedRows((ids, ids)), labels)
        assert len(DistinctRows.of(ReadableRows(rows, np.arange(2), 2))) == 2

    def test_values_go_back_to_all_rows_and_unreadable_ones_get_their_own(self) -> None:
        readable = rows_of([[5], [4], [5]])
        readable = replace(readable, positions=np.array([0, 2, 3]), total=4)
        distinct = DistinctRows.of(readable)
        assert distinct.place.tolist() == [1, -1, 0, 1]
        assert distinct.spread(np.array([0.4, 0.5]), -np.inf).tolist() == [0.5, -np.inf, 0.4, 0.5]


class TestTarget:
    def test_examples_are_drawn_within_each_subtask(self) -> None:
        subtasks = ["a"] * 9 + ["b"] * 2
        drawn = [draw_examples(subtasks, 4, np.random.default_rng(seed)) for seed in range(5)]
        for found in drawn:
            assert {name: len(rows) for name, rows in found.items()} == {"a": 4, "b": 2}
            assert set(found["a"]) < set(range(9))
            assert found["b"].tolist() == [9, 10]
        assert len({tuple(found["a"]) for found in drawn}) > 1
        everything = draw_examples(subtasks, 0, np.random.default_rng(0))
        assert everything["a"].tolist() == list(range(9))

    def test_labels_are_the_answers_and_end_as_training_rows_do(self, tmp_path: Path) -> None:
        task, own = planted_task(4, 4), encoder(48)
        target = read_target(own, task, 3, make_context(tmp_path))
        assert set(target.subtasks) == {"warm", "cold"}
        pairs = list(zip(task.train["prompt"], task.train["completion"], strict=True))
        training = own.encode(pairs, end=True)
        answers = set()
        for labels in (*target.encoded.labels, *training.labels):
            kept = labels[labels != IGNORED]
            assert kept[-1] == own.tokenizer.eos_token_id
            answers.add(own.tokenizer.decode(kept[:-1]).strip())
        assert answers >= {"green", "red"}
        assert answers <= {"green", "white", "red", "black", *task.train["completion"]}

    def test_the_rows_of_a_subtask_have_its_answers(self, tmp_path: Path) -> None:
        own = encoder(48)
        target = read_target(own, planted_task(4, 4), 0, make_context(tmp_path))
        for row in target.subtasks["warm"]:
            assert "blood" in own.tokenizer.decode(target.encoded.rows.ids[row])

    def test_without_the_column_the_whole_split_is_one_subtask(self, tmp_path: Path) -> None:
        task = replace(planted_task(4, 4), scoring_columns=())
        assert list(read_target(encoder(48), task, 2, make_context(tmp_path)).subtasks) == [
            "target"
        ]

    def test_unreadable_examples_are_counted_and_an_empty_subtask_is_an_error(
        self, tmp_path: Path
    ) -> None:
        task = with_validation(
            prompt=["a ", "b ", "c "], completion=["green", "z" * 99, "z" * 99],
            subtask=["first", "first", "second"],
        )  # fmt: skip
        with pytest.raises(UsageError, match="none of the 1 examples of subtask 'second'"):
            read_target(encoder(), task, 0, make_context(tmp_path))
        fine = replace(task, splits={**task.splits, "validation": task.validation.select([0, 1])})
        target = read_target(encoder(), fine, 0, make_context(tmp_path))
        assert (target.subtasks, target.excluded) == ({"first": [0]}, 1)


def with_validation(**columns: list[str]) -> TaskData:
    task = planted_task(4, 4)
    rows = Dataset.from_dict(columns)
    return replace(task, splits={**task.splits, "validation": rows}, scoring_columns=("subtask",))
