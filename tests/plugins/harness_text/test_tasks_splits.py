"""One fixed rule splits rows: by hash, in the classes' shares, with no text on two sides."""

from __future__ import annotations

import hashlib
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness_text.labelled import LabelledTexts
from harness_text.splits import KeyedTexts, TaskSplits, Unsplit, apportion, carve, make_splits

NAMES = ("no", "yes", "maybe")


def rows(*pairs: tuple[str, int]) -> LabelledTexts:
    return LabelledTexts({"text": [t for t, _ in pairs]}, np.array([c for _, c in pairs]))


def numbered(*counts: int) -> LabelledTexts:
    """`counts[c]` rows of class c, mixed, each with a text of its own."""
    return rows(*((f"row {i} of {c}", c) for c, n in enumerate(counts) for i in range(n)))


def split(
    given: LabelledTexts | Unsplit, *, validation: int = 6, test: int = 6, names: tuple = NAMES
) -> TaskSplits:
    unsplit = given if isinstance(given, Unsplit) else Unsplit(given)
    return make_splits(
        unsplit, names, validation_rows=lambda n: validation, test_rows=lambda n: test
    )


def pairs_of(split_rows: LabelledTexts) -> list[tuple[str, int]]:
    return list(zip(split_rows.texts["text"], split_rows.labels.tolist(), strict=True))


def test_the_rows_held_out_are_those_with_the_smallest_hashes_of_each_class() -> None:
    every = numbered(20, 12)
    held_out, rest = carve(KeyedTexts.of(every), 8)
    expected = set()
    for label, share in ((0, 5), (1, 3)):
        texts = [text for text, c in pairs_of(every) if c == label]
        letters = {text: "".join(ch for ch in text if ch.isalnum()) for text in texts}
        by_hash = sorted(texts, key=lambda t: hashlib.sha256(letters[t].encode()).hexdigest())
        expected |= set(by_hash[:share])
    assert set(held_out.rows.texts["text"]) == expected
    assert pairs_of(rest.rows) == [pair for pair in pairs_of(every) if pair[0] not in expected]


def test_the_rule_is_the_one_that_records_were_made_with() -> None:
    held_out, _ = carve(KeyedTexts.of(numbered(6, 6)), 4)
    assert held_out.rows.texts["text"] == ["row 1 of 0", "row 4 of 0", "row 2 of 1", "row 4 of 1"]


@given(st.permutations(range(36)))
def test_the_order_of_the_file_does_not_matter(order: list[int]) -> None:
    every = numbered(12, 14, 10)
    expected, got = split(every), split(every.take(np.array(order)))
    for name, part in got.by_name().items():
        assert sorted(pairs_of(part)) == sorted(pairs_of(expected.by_name()[name])), name


words = st.sampled_from(
    ["good", "Good", "good .", "bad", "BAD!", "bad  film", "bad film", "?", "!"]
)
labelled = st.lists(st.tuples(words, st.integers(0, 1)), max_size=30)


def key(text: str) -> str:
    """The reference for what makes two texts one: letters and digits, if it has any."""
    letters = "".join(ch for ch in text.casefold() if ch.isalnum() or ch == "_")
    return letters or " ".join(text.casefold().split())


@given(labelled)
def test_no_text_is_on_two_sides_and_none_is_invented(extra: list[tuple[str, int]]) -> None:
    every = rows(*pairs_of(numbered(9, 9)), *extra)
    made = split(every, validation=4, test=4, names=NAMES[:2])
    sides = [{key(text) for text, _ in pairs_of(part)} for part in made.by_name().values()]
    assert sum(map(len, sides)) == len(set.union(*sides))
    every_pair = Counter(pairs_of(every))
    for part in made.by_name().values():
        assert not Counter(pairs_of(part)) - every_pair


@given(labelled)
def test_train_has_each_text_once_and_none_with_two_labels(extra: list[tuple[str, int]]) -> None:
    every = rows(*pairs_of(numbered(9, 9)), *extra)
    made = split(every, names=NAMES[:2], validation=4, test=4)
    exact = [" ".join(text.casefold().split()) for text, _ in pairs_of(made.train)]
    assert len(set(exact)) == len(exact)
    labels: dict[str, set[int]] = {}
    for text, label in pairs_of(every):
        labels.setdefault(" ".join(text.casefold().split()), set()).add(label)
    assert all(len(labels[text]) == 1 for text in exact)


def test_what_was_removed_is_counted_in_the_notes() -> None:
    doubtful = [("Twice", 0), ("twice ", 0), ("split", 0), ("SPLIT", 1), ("seen!", 1)]
    given_rows = Unsplit(rows(*pairs_of(numbered(9, 9)), *doubtful), test=rows(("Seen", 0)))
    made = split(given_rows, names=NAMES[:2], validation=4)
    assert made.notes == (
        "train: 2 rows removed whose text carries several labels",
        "train: 1 rows removed that repeat another",
        "train: 1 rows removed whose text is also in test",
        "validation: 4 rows carved from train by hash",
    )
    assert len(made.train) == 9 + 9 + 1 - 4


def test_a_given_test_split_is_left_as_it_is() -> None:
    test = rows(("same", 0), ("same", 0), ("row 0 of 0", 1))
    made = split(Unsplit(numbered(9, 9), test=test), names=NAMES[:2], validation=4)
    assert pairs_of(made.test) == pairs_of(test)
    assert "row 0 of 0" not in made.train.texts["text"]


def test_a_given_validation_split_gives_way_to_test_and_train_to_both() -> None:
    validation = rows(("in both", 0), ("row 1 of 1", 1), ("own", 0))
    test = rows(("in both", 0), ("row 2 of 1", 1))
    made = split(Unsplit(numbered(9, 9), validation, test), names=NAMES[:2])
    assert pairs_of(made.validation) == [("row 1 of 1", 1), ("own", 0)]
    assert set(made.train.texts["text"]).isdisjoint({"row 1 of 1", "row 2 of 1"})
    assert len(made.train) == 16


def test_a_carved_test_split_has_no_text_of_a_given_validation_split() -> None:
    validation = rows(*((f"row {i} of 0 !", 0) for i in range(4)), ("own", 1))
    made = split(Unsplit(numbered(9, 9), validation), names=NAMES[:2], test=10)
    assert pairs_of(made.validation) == pairs_of(validation)
    assert {f"row {i} of 0" for i in range(4)}.isdisjoint(made.test.texts["text"])


def test_near_repeats_of_another_class_never_face_one_another() -> None:
    twins = rows(
        *((f"item {i}", 0) for i in range(60)), *((f"Item {i} !", 1) for i in range(0, 60, 3))
    )
    made = split(twins, names=NAMES[:2], validation=20, test=20)
    sides = [{key(text) for text, _ in pairs_of(part)} for part in made.by_name().values()]
    assert sum(map(len, sides)) == len(set.union(*sides))
    assert any("whose text is also in validation" in note for note in made.notes)


def test_texts_of_punctuation_alone_are_not_taken_for_one_another() -> None:
    marks = rows(*((mark * n, 0) for mark in "?!" for n in range(1, 7)))
    every = LabelledTexts(
        {"text": [*marks.texts["text"], *numbered(0, 12).texts["text"]]},
        np.array([0] * 12 + [1] * 12),
    )
    made = split(every, names=NAMES[:2], validation=4, test=4)
    assert sum(len(part) for part in made.by_name().values()) == 24


def test_pairs_that_share_their_first_text_stay_on_one_side() -> None:
    firsts = [f"premise {i}" for i in range(40) for _ in range(3)]
    seconds = [f"hypothesis {i}" for i in range(120)]
    pairs = LabelledTexts({"a": firsts, "b": seconds}, np.tile([0, 1, 2], 40))
    held_out, rest = carve(KeyedTexts.of(pairs), 30)
    assert set(held_out.rows.texts["a"]).isdisjoint(rest.rows.texts["a"])


@given(st.integers(0, 500), st.lists(st.integers(0, 400), min_size=1, max_size=6).filter(any))
def test_shares_follow_the_classes(size: int, counts: list[int]) -> None:
    shares = apportion(size, counts)
    total = sum(counts)
    for share, count in zip(shares, counts, strict=True):
        exact = Fraction(size * count, total)
        lowest, highest = (1 if count else 0), max(count - 1, 1)
        assert min(lowest, count) <= share
        assert share <= max(highest, 0) or count == 0
        if lowest < exact - 1 and exact + 1 < highest:
            assert abs(share - exact) < 1
        assert (share == 0) == (count == 0)


def test_shares_sum_to_the_size_where_classes_are_large_enough() -> None:
    assert apportion(10, [50, 30, 20]) == [5, 3, 2]
    assert apportion(10, [100, 100, 100]) == [4, 3, 3]
    assert apportion(1000, [29780, 37569]) == [442, 558]
    assert apportion(2, [100, 1, 5]) == [2, 1, 1]


@pytest.mark.parametrize(
    ("counts", "message"),
    [((9, 9, 0), "'maybe' has 0, needed 3"), ((9, 2, 9), "'yes' has 2, needed 3")],
)
def test_a_class_that_is_empty_or_too_small_is_named(counts: tuple[int, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        split(numbered(*counts))


def test_a_train_split_that_is_all_in_test_is_refused() -> None:
    with pytest.raises(UsageError, match="every text of train is also in test"):
        split(Unsplit(numbered(3, 3), test=numbered(3, 3)), names=NAMES[:2])
