"""Length: what is counted, and which end is kept."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.budget import Budget
from harness.context import StageContext
from harness.testing.toys import toy_task
from harness.types import TaskData
from harness_relevance.length import Length, text_lengths

POOL = [
    ("a very long prompt that counts for nothing ", "one"),
    ("b ", "one two"),
    ("c ", "extraordinarily"),
    ("d ", "1, 2 & 3"),
    ("e ", "two words"),
]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [3, 1, 4]),
        ({"keep": "shortest"}, [0, 2, 1]),
        ({"unit": "characters"}, [2, 4, 3]),
        ({"unit": "characters", "keep": "shortest"}, [0, 1, 3]),
    ],
)
def test_completions_are_taken_by_length_and_equal_ones_by_index(
    options: dict[str, str],
    expected: list[int],
    instructions: Callable[..., TaskData],
    context: StageContext,
) -> None:
    task = instructions(POOL, [("x ", "y")])
    data = Length(**options).distill(task, Budget.parse("3rows"), context)  # type: ignore[arg-type]
    assert data.indices is not None
    assert data.indices.tolist() == expected
    assert data.used_splits == ("train",)


def test_the_report_has_the_mean_lengths(
    instructions: Callable[..., TaskData], context: StageContext
) -> None:
    data = Length().distill(instructions(POOL, [("x ", "y")]), Budget.parse("1rows"), context)
    assert data.report == {"mean_length": 9 / 5, "mean_length_chosen": 3.0}


def test_words_and_characters_are_counted() -> None:
    texts = ["", "naïve café", "snake_case 42!"]
    assert text_lengths(texts, "words").tolist() == [0, 2, 2]
    assert text_lengths(texts, "characters").tolist() == [0, 10, 14]


def test_without_completions_the_text_counts(context: StageContext) -> None:
    task = toy_task().sealed()
    data = Length().distill(task, Budget.parse("2/class"), context)
    lengths = [len(text.split()) for text in task.train["text"]]
    for label, found in zip((0, 1), (data.rows["text"][:2], data.rows["text"][2:]), strict=True):
        own = sorted((n for n, y in zip(lengths, task.train["label"], strict=True) if y == label))
        assert sorted(len(text.split()) for text in found) == own[-2:]
