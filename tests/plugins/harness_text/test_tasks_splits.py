"""What makes two labelled texts the same, and how the fair split takes them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.types import Split
from harness_text.labelled import LabelledTexts
from harness_text.splits import split_texts

NAMES = ("no", "yes")


def rows(*pairs: tuple[str, int]) -> LabelledTexts:
    return LabelledTexts({"text": [t for t, _ in pairs]}, np.array([c for _, c in pairs]))


def numbered(*counts: int) -> tuple[tuple[str, int], ...]:
    """`counts[c]` rows of class c, each with a text of its own."""
    return tuple((f"row {i} of {c}", c) for c, n in enumerate(counts) for i in range(n))


def split(
    size: int = 4, **tables: LabelledTexts
) -> tuple[dict[Split, LabelledTexts], tuple[str, ...]]:
    return split_texts(tables, NAMES, validation=lambda n: size, test=lambda n: size)


def pairs_of(split_rows: LabelledTexts) -> list[tuple[str, int]]:
    return list(zip(split_rows.texts["text"], split_rows.labels.tolist(), strict=True))


def test_the_rule_is_the_one_that_records_were_made_with() -> None:
    made, _ = split(train=rows(*numbered(6, 6)), test=rows(("t", 0)))
    assert made["validation"].texts["text"] == [
        "row 1 of 0", "row 4 of 0", "row 2 of 1", "row 4 of 1",
    ]  # fmt: skip


words = st.sampled_from(
    ["good", "Good", "good .", "bad", "BAD!", "bad  film", "bad film", "?", "!"]
)


def key(text: str) -> str:
    """The reference for what makes two texts one: letters and digits, if it has any."""
    letters = "".join(ch for ch in text.casefold() if ch.isalnum() or ch == "_")
    return letters or " ".join(text.casefold().split())


@given(st.lists(st.tuples(words, st.integers(0, 1)), max_size=30))
def test_case_blanks_and_punctuation_make_no_difference(extra: list[tuple[str, int]]) -> None:
    every = [*numbered(9, 9), *extra]
    made, _ = split(train=rows(*every))
    sides = [{key(text) for text, _ in pairs_of(part)} for part in made.values()]
    assert sum(map(len, sides)) == len(set.union(*sides))
    exact = [" ".join(text.casefold().split()) for text, _ in pairs_of(made["train"])]
    assert len(set(exact)) == len(exact)
    labels: dict[str, set[int]] = {}
    for text, label in every:
        labels.setdefault(" ".join(text.casefold().split()), set()).add(label)
    assert all(len(labels[text]) == 1 for text in exact)


def test_what_was_removed_is_counted_in_the_notes() -> None:
    doubtful = [("Twice", 0), ("twice ", 0), ("split", 0), ("SPLIT", 1), ("seen!", 1)]
    made, notes = split(train=rows(*numbered(9, 9), *doubtful), test=rows(("Seen", 0)))
    assert notes == (
        "train: 2 rows removed whose text carries several labels",
        "train: 1 rows removed that repeat another",
        "train: 1 rows removed whose text is also in test",
        "validation: 4 rows carved from train by hash",
    )
    assert len(made["train"]) == 9 + 9 + 1 - 4


def test_notes_say_first_what_validation_has_of_test() -> None:
    validation = rows(("in both", 0), ("row 1 of 1", 1), ("own", 0))
    test = rows(("in both", 0), ("row 2 of 1", 1))
    made, notes = split(train=rows(*numbered(9, 9)), validation=validation, test=test)
    assert pairs_of(made["validation"]) == [("row 1 of 1", 1), ("own", 0)]
    assert len(made["train"]) == 16
    assert notes == (
        "validation: 1 rows removed whose text is also in test",
        "train: 1 rows removed whose text is also in test",
        "train: 1 rows removed whose text is also in validation",
    )


def test_texts_of_punctuation_alone_are_not_taken_for_one_another() -> None:
    marks = [(mark * n, 0) for mark in "?!" for n in range(1, 7)]
    made, _ = split(train=rows(*marks, *numbered(0, 12)))
    assert sum(len(part) for part in made.values()) == 24


def test_pairs_that_share_their_first_text_stay_on_one_side() -> None:
    firsts = [f"premise {i}" for i in range(40) for _ in range(3)]
    seconds = [f"hypothesis {i}" for i in range(120)]
    pairs = LabelledTexts({"a": firsts, "b": seconds}, np.tile([0, 1, 2], 40))
    test = LabelledTexts({"a": ["t"], "b": ["t"]}, np.array([0]))
    made, _ = split_texts(
        {"train": pairs, "test": test}, "abc", validation=lambda n: 30, test=lambda n: 0
    )
    assert set(made["validation"].texts["a"]).isdisjoint(made["train"].texts["a"])


def test_a_train_split_that_is_all_in_test_is_refused() -> None:
    with pytest.raises(UsageError, match="every text of train is also in test"):
        split(train=rows(*numbered(3, 3)), test=rows(*numbered(3, 3)))
