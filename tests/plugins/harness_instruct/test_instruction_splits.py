"""Pool and target: carved by hash, free of repeats, and never overlapping."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness_instruct.instructions import Instruction
from harness_instruct.splits import InstructionSplits, carve, make_splits

prompts = st.lists(st.text("abcdefg ?", min_size=1, max_size=6), min_size=4, max_size=30)


def rows(*texts: str, completion: str = "yes") -> list[Instruction]:
    return [Instruction(text, completion) for text in texts]


def split(
    train: Sequence[Instruction],
    validation: Sequence[Instruction] | None = None,
    test: Sequence[Instruction] | None = None,
    pool: Sequence[Instruction] | None = None,
) -> InstructionSplits:
    return make_splits(
        train, validation, test, pool=pool, validation_rows=lambda n: n // 4,
        test_rows=lambda n: n // 4,
    )  # fmt: skip


def contents(found: Sequence[Instruction]) -> set[str]:
    return {row.content for row in found}


@given(prompts)
def test_no_prompt_is_on_both_sides_and_none_is_lost(texts: list[str]) -> None:
    given_rows = rows(*texts)
    held_out, rest = carve(given_rows, 3)
    assert not contents(held_out) & contents(rest)
    written = [row.prompt for row in (*held_out, *rest)]
    assert sorted(written) == sorted(texts)
    assert list(rest) == [row for row in given_rows if row.content not in contents(held_out)]
    assert len(contents(held_out)) == min(3, len(contents(given_rows)))


@given(prompts, st.randoms())
def test_what_is_carved_depends_on_the_texts_alone(texts: list[str], random: object) -> None:
    shuffled = list(texts)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert contents(carve(rows(*texts), 2)[0]) == contents(carve(rows(*shuffled), 2)[0])
    more = contents(carve(rows(*texts, "zzz"), 2)[0])
    assert more <= contents(carve(rows(*texts), 2)[0]) | {"zzz"}


def test_carves_validation_and_test_from_train() -> None:
    made = split(rows(*(f"question {n}" for n in range(16))))
    assert (len(made.validation), len(made.test), len(made.train)) == (4, 4, 8)
    assert made.notes == (
        "validation: 4 rows carved from train by hash",
        "test: 4 rows carved from train by hash",
    )


def test_the_pool_holds_no_prompt_of_the_target_however_it_is_written() -> None:
    test = rows("What is SNOW?")
    validation = rows("what is ice", "what is snow")
    pool = rows("What  is snow", "what is ice?!", "what is rain", "what is rain")
    made = split((), validation, test, pool)
    assert [row.prompt for row in made.train] == ["what is rain"]
    assert [row.prompt for row in made.validation] == ["what is ice"]
    assert made.test == test
    assert made.notes == (
        "validation: 1 rows removed whose prompt is in test",
        "pool: 1 rows removed that repeat another",
        "pool: 1 rows removed whose prompt is in test",
        "pool: 1 rows removed whose prompt is in validation",
    )


def test_a_pool_replaces_what_is_left_of_train() -> None:
    made = split(rows("a", "b", "c", "d"), None, rows("t"), rows("p"))
    assert contents(made.train) == {"p"}
    assert len(made.validation) == 1


def test_a_prompt_may_stand_in_the_pool_with_several_completions() -> None:
    made = split([*rows("a", "b"), *rows("a", completion="no")], rows("v"), rows("t"))
    assert [(row.prompt, row.completion) for row in made.train] == [
        ("a", "yes"), ("b", "yes"), ("a", "no"),
    ]  # fmt: skip


def test_rows_without_text_are_left_out_and_counted() -> None:
    made = split([*rows("a", " "), Instruction("b", "")], rows("v"), rows("t"))
    assert contents(made.train) == {"a"}
    assert made.notes == ("train: 2 rows removed that lack a text",)


def test_nothing_left_of_a_split_is_an_error() -> None:
    with pytest.raises(UsageError, match="no rows are left for train"):
        split(rows("a"), rows("v"), rows("A?"))
