"""What makes two prompts the same, and how the fair split makes pool and target of them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from harness.errors import UsageError
from harness.types import DataSource
from harness_instruct.instructions import Instruction
from harness_instruct.pools import Pool
from harness_instruct.splits import split_instructions


def rows(*texts: str, completion: str = "yes") -> list[Instruction]:
    return [Instruction(text, completion) for text in texts]


def split(
    pool: Sequence[Instruction] | None = None, **tables: Sequence[Instruction]
) -> tuple[dict[str, list[tuple[str, str]]], tuple[str, ...]]:
    """Prompt and completion of each split's rows, and the notes."""
    made, notes = split_instructions(
        tables,
        validation=lambda n: n // 4,
        test=lambda n: n // 4,
        pool=None if pool is None else Pool(pool, DataSource("file", "pool")),
    )
    return {
        name: list(zip(table["prompt"], table["completion"], strict=True))
        for name, table in made.items()
    }, notes


def test_carves_validation_and_test_from_train() -> None:
    made, notes = split(train=rows(*(f"question {n}" for n in range(16))))
    assert {name: len(own) for name, own in made.items()} == {
        "train": 8, "validation": 4, "test": 4,
    }  # fmt: skip
    assert notes == (
        "validation: 4 rows carved from train by hash",
        "test: 4 rows carved from train by hash",
    )


def test_the_pool_holds_no_prompt_of_the_target_however_it_is_written() -> None:
    made, notes = split(
        pool=rows("What  is snow", "what is ice?!", "what is rain", "what is rain"),
        train=(),
        validation=rows("what is ice", "what is snow"),
        test=rows("What is SNOW?"),
    )
    assert made == {
        "train": [("what is rain", "yes")],
        "validation": [("what is ice", "yes")],
        "test": [("What is SNOW?", "yes")],
    }
    assert notes == (
        "validation: 1 rows removed whose prompt is in test",
        "pool: 1 rows removed that repeat another",
        "pool: 1 rows removed whose prompt is in test",
        "pool: 1 rows removed whose prompt is in validation",
    )


def test_a_prompt_may_stand_in_the_pool_with_several_completions() -> None:
    train = [*rows("a", "b"), *rows("a", completion="no")]
    made, _ = split(train=train, validation=rows("v"), test=rows("t"))
    assert made["train"] == [("a", "yes"), ("b", "yes"), ("a", "no")]


def test_rows_without_text_are_left_out_and_counted() -> None:
    train = [*rows("a", " "), Instruction("b", "")]
    made, notes = split(train=train, validation=rows("v"), test=rows("t"))
    assert made["train"] == [("a", "yes")]
    assert notes == ("train: 2 rows removed that lack a text",)


def test_nothing_left_of_a_split_is_an_error() -> None:
    with pytest.raises(UsageError, match="no rows are left for train"):
        split(train=rows("a"), validation=rows("v"), test=rows("A?"))
