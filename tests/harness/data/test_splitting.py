"""One fixed rule splits rows: no content on two sides, by hash, in the classes' shares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from hashlib import sha256
from random import Random
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data.splitting import (
    RowKeys,
    RowSplits,
    apportion,
    order_key,
    split_rows,
    word_key,
)
from harness.errors import UsageError
from harness.types import Split

Row = tuple[str, str, int]
"""Content, what else is in the row, class."""
Problem = tuple[dict[str, list[Row]], bool]
"""Tables by name, and whether their classes count."""

NAMES = ("no", "yes", "maybe")
HELD_OUT: Mapping[Split, int] = {"validation": 4, "test": 5}


def keys(rows: Sequence[Row], *, classes: bool = False) -> RowKeys:
    return RowKeys(
        content=[content for content, _, _ in rows],
        order=[order_key(content) for content, _, _ in rows],
        exact=[(content, rest) for content, rest, _ in rows],
        labels=[label for _, _, label in rows] if classes else None,
    )


def texts(*contents: str) -> RowKeys:
    """A row without class for each content."""
    return keys([(content, "", 0) for content in contents])


def numbered(*counts: int) -> list[Row]:
    """`counts[c]` rows of class c, each with a content of its own."""
    return [(f"row {i} of {c}", "", c) for c, n in enumerate(counts) for i in range(n)]


def split(
    tables: Mapping[str, RowKeys],
    sizes: Mapping[Split, int] = HELD_OUT,
    *,
    names: Sequence[str] = (),
    limit: int = 0,
) -> RowSplits:
    counts = {name: (lambda available, size=size: size) for name, size in sizes.items()}
    return split_rows(tables, counts, noun="text", label_names=names, limit=limit)


def shown(made: RowSplits, tables: Mapping[str, RowKeys]) -> dict[Split, list[object]]:
    """The contents of each split's rows, in their order."""
    return {s: [tables[name].content[i] for i in at] for s, (name, at) in made.places.items()}


row = st.tuples(
    st.sampled_from([f"w{n}" for n in range(25)]),
    st.sampled_from(["", "!", "?"]),
    st.integers(0, 1),
)


@st.composite
def problems(draw: st.DrawFn, classes: bool | None = None) -> Problem:
    """Tables with rows of their own, so that they can be split, and any others."""
    twins = [("twin", "", 0), ("twin", "!", 1)]
    tables = {"train": [*numbered(9, 9), *twins, *draw(st.lists(row, max_size=25))]}
    for name in HELD_OUT:
        if draw(st.booleans()):
            tables[name] = [(f"own {name}", "", 0), *draw(st.lists(row, max_size=25))]
    return tables, draw(st.booleans()) if classes is None else classes


def solve(problem: Problem) -> tuple[dict[Split, list[Row]], tuple[str, ...]]:
    """The rows of each split and the notes."""
    tables, classes = problem
    keyed = {name: keys(rows, classes=classes) for name, rows in tables.items()}
    made = split(keyed, names=NAMES[:2] if classes else ())
    return made.rows(tables, lambda rows, positions: [rows[i] for i in positions]), made.notes


class TestWhateverTheRows:
    @given(problems())
    def test_no_content_stands_in_two_splits(self, problem: Problem) -> None:
        sides = [{content for content, _, _ in rows} for rows in solve(problem)[0].values()]
        assert sum(map(len, sides)) == len(set.union(*sides))

    @given(problems())
    def test_a_row_is_taken_once_and_in_its_place(self, problem: Problem) -> None:
        tables = {name: keys(rows) for name, rows in problem[0].items()}
        taken: dict[str, list[int]] = {}
        for name, positions in split(tables).places.values():
            assert positions == sorted(positions)
            taken.setdefault(name, []).extend(positions)
        assert all(len(set(positions)) == len(positions) for positions in taken.values())

    @given(problems())
    def test_train_has_nothing_twice(self, problem: Problem) -> None:
        exact = [row[:2] for row in solve(problem)[0]["train"]]
        assert len(set(exact)) == len(exact)

    @given(problems(classes=True))
    def test_train_has_nothing_of_several_labels(self, problem: Problem) -> None:
        labels = Counter(row[:2] for row in set(problem[0]["train"]))
        assert all(labels[row[:2]] == 1 for row in solve(problem)[0]["train"])

    @given(problems(classes=False))
    def test_without_classes_nothing_is_lost(self, problem: Problem) -> None:
        tables, _ = problem
        made, _ = solve(problem)
        assert {row[0] for rows in made.values() for row in rows} == {
            row[0] for rows in tables.values() for row in rows
        }
        held_out = {row[0] for name in HELD_OUT for row in tables.get(name, ())}
        own = [row for name, rows in made.items() if name not in tables or name == "train"
               for row in rows]  # fmt: skip
        once = {row[:2] for row in tables["train"] if row[0] not in held_out}
        assert sorted(row[:2] for row in own) == sorted(once)

    @given(problems(), st.randoms(use_true_random=False))
    def test_the_order_of_the_rows_does_not_matter(self, problem: Problem, random: Random) -> None:
        tables, classes = problem
        shuffled = {name: random.sample(rows, len(rows)) for name, rows in tables.items()}
        made, notes = solve(problem)
        other, other_notes = solve((shuffled, classes))
        assert notes == other_notes
        # Which of the rows that repeat one another is kept depends on their order.
        seen = slice(3 if classes else 2)
        for name, rows in made.items():
            assert sorted(row[seen] for row in other[name]) == sorted(row[seen] for row in rows)

    @given(problems(classes=True))
    def test_each_class_is_in_train_and_in_what_is_carved(self, problem: Problem) -> None:
        for name, rows in solve(problem)[0].items():
            if name == "train" or name not in problem[0]:
                assert {label for _, _, label in rows} == {0, 1}

    @given(problems())
    def test_what_is_carved_has_the_size_asked_for(self, problem: Problem) -> None:
        tables, classes = problem
        made, _ = solve(problem)
        for name, size in HELD_OUT.items():
            if name not in tables:
                carved = made[name]
                assert len(carved if classes else {row[0] for row in carved}) == size

    @given(problems())
    def test_what_has_been_split_stays_as_it_is(self, problem: Problem) -> None:
        made, _ = solve(problem)
        assert solve((dict(made), problem[1])) == (made, ())

    @given(problems())
    def test_a_given_test_split_is_left_as_it_is(self, problem: Problem) -> None:
        tables, classes = problem
        test = tables.get("test", tables["train"][:3]) * 2
        assert solve(({**tables, "test": test}, classes))[0]["test"] == test


class TestWhatGivesWay:
    def test_validation_to_test_and_train_to_both(self) -> None:
        tables = {
            "train": texts("a", "b", "c"),
            "validation": texts("b", "c", "v"),
            "test": texts("c"),
        }
        assert shown(split(tables), tables) == {
            "train": ["a"], "validation": ["b", "v"], "test": ["c"],
        }  # fmt: skip

    def test_notes_name_the_tables_in_the_order_given(self) -> None:
        tables = {"train": texts("a", "b", "c"), "validation": texts("b", "c", "v")}
        of_train = "train: 1 rows removed whose text is in test"
        of_validation = "validation: 1 rows removed whose text is in test"
        last = "train: 1 rows removed whose text is in validation"
        made = split({**tables, "test": texts("c")})
        assert made.notes == (of_train, of_validation, last)
        made = split({**dict(reversed(tables.items())), "test": texts("c")})
        assert made.notes == (of_validation, of_train, last)

    def test_what_is_carved_has_nothing_of_a_given_validation_split(self) -> None:
        every = numbered(9, 9)
        tables = {"train": keys(every, classes=True), "validation": keys(every[:4], classes=True)}
        made = shown(split(tables, {"test": 10}, names=NAMES[:2]), tables)
        assert made["validation"] == [row[0] for row in every[:4]]
        assert set(made["test"]).isdisjoint(made["validation"])

    def test_train_to_near_repeats_of_another_class(self) -> None:
        twins = [(f"item {i}", "", 0) for i in range(60)]
        twins += [(f"item {i}", "!", 1) for i in range(0, 60, 3)]
        tables = {"train": keys(twins, classes=True)}
        made = split(tables, {"validation": 20, "test": 20}, names=NAMES[:2])
        sides = [set(side) for side in shown(made, tables).values()]
        assert sum(map(len, sides)) == len(set.union(*sides))
        assert any("whose text is in validation" in note for note in made.notes)


class TestWhatTrainHolds:
    def test_what_was_removed_is_counted(self) -> None:
        doubtful = [("twice", "", 0), ("twice", "", 0), ("torn", "", 0), ("torn", "", 1)]
        train = keys([*numbered(9, 9), *doubtful, ("seen", "", 1)], classes=True)
        made = split({"train": train, "test": texts("seen")}, {"validation": 4}, names=NAMES[:2])
        assert made.notes == (
            "train: 2 rows removed whose text carries several labels",
            "train: 1 rows removed that repeat another",
            "train: 1 rows removed whose text is in test",
            "validation: 4 rows carved from train by hash",
        )
        assert len(made.places["train"][1]) == 9 + 9 + 1 - 4

    def test_rows_that_lack_a_text_are_left_out(self) -> None:
        train = replace(texts("a", "", "b"), exact=["a", None, "b"])
        tables = {"train": train, "validation": texts("v"), "test": texts("t")}
        made = split(tables)
        assert shown(made, tables)["train"] == ["a", "b"]
        assert made.notes == ("train: 1 rows removed that lack a text",)

    def test_rows_of_one_content_may_differ_in_the_rest(self) -> None:
        train = keys([("a", "x", 0), ("a", "y", 0), ("a", "x", 0)])
        made = split({"train": train, "validation": texts("v"), "test": texts("t")})
        assert made.places["train"] == ("train", [0, 1])


class TestWhatIsCarved:
    def test_with_classes_the_rows_of_each_that_have_the_smallest_hashes(self) -> None:
        every = numbered(20, 12)
        tables = {"train": keys(every, classes=True), "test": texts("t")}
        made = shown(split(tables, {"validation": 8}, names=NAMES[:2]), tables)
        expected: set[str] = set()
        for label, share in ((0, 5), (1, 3)):
            own = [content for content, _, c in every if c == label]
            expected |= set(sorted(own, key=lambda t: sha256(t.encode()).hexdigest())[:share])
        assert set(made["validation"]) == expected
        assert made["train"] == [row[0] for row in every if row[0] not in expected]

    def test_without_classes_all_rows_of_the_contents_that_have_the_smallest_hashes(self) -> None:
        tables = {"train": keys([(f"row {i // 3}", str(i), i % 2) for i in range(36)])}
        made = shown(split(tables, {"validation": 3, "test": 2}), tables)
        by_hash = sorted(set(tables["train"].content), key=lambda t: order_key(str(t)))
        assert Counter(made["validation"]) == dict.fromkeys(by_hash[:3], 3)
        assert Counter(made["test"]) == dict.fromkeys(by_hash[3:5], 3)
        assert Counter(made["train"]) == dict.fromkeys(by_hash[5:], 3)

    def test_in_the_order_of_the_sizes(self) -> None:
        every = [f"row {i}" for i in range(12)]
        tables = {"train": texts(*every)}
        made = split(tables, {"test": 2, "validation": 3})
        assert set(shown(made, tables)["test"]) == set(sorted(every, key=order_key)[:2])
        assert made.notes == (
            "test: 2 rows carved from train by hash",
            "validation: 3 rows carved from train by hash",
        )

    @given(st.sets(st.text("abcdefg", min_size=1, max_size=6), min_size=12))
    def test_a_row_keeps_its_place_when_another_is_added(self, every: set[str]) -> None:
        before, after = (
            set(shown(split(tables), tables)["validation"])
            for tables in ({"train": texts(*every)}, {"train": texts(*every, "zzz")})
        )
        assert after <= before | {"zzz"}

    def test_rows_that_share_their_order_stay_on_one_side(self) -> None:
        pairs = [(f"premise {i // 3}, {i}", "", i % 3) for i in range(120)]
        shared = [order_key(content.partition(",")[0]) for content, _, _ in pairs]
        train = replace(keys(pairs, classes=True), order=shared)
        made = split({"train": train, "test": texts("t")}, {"validation": 30}, names=NAMES)
        sides = [{shared[i] for i in made.places[s][1]} for s in ("train", "validation")]
        assert sides[0].isdisjoint(sides[1])

    @pytest.mark.parametrize(("share_of", "there"), [("rows", 7), ("contents", 4)])
    def test_a_size_is_of_what_is_there_once_overlaps_are_gone(
        self, share_of: Literal["rows", "contents"], there: int
    ) -> None:
        asked: list[int] = []

        def size(available: int) -> int:
            asked.append(available)
            return 1

        train = keys([*((f"row {i // 2}", str(i), 0) for i in range(1, 8)), ("seen", "", 0)])
        tables = {"train": train, "test": texts("seen")}
        split_rows(tables, {"validation": size}, noun="text", share_of=share_of)
        assert asked == [there]


class TestPoolAndLimit:
    def test_a_pool_takes_the_place_of_train_and_gives_way(self) -> None:
        made = split(
            {"train": texts("t"), "validation": texts("v"), "test": texts("t"),
             "pool": texts("p", "v", "p", "t")}
        )  # fmt: skip
        assert made.places["train"] == ("pool", [0])
        assert made.notes == (
            "train: 1 rows removed whose text is in test",
            "pool: 1 rows removed that repeat another",
            "pool: 1 rows removed whose text is in test",
            "pool: 1 rows removed whose text is in validation",
        )

    def test_what_is_left_of_train_is_in_no_split_beside_a_pool(self) -> None:
        tables = {"train": texts("a", "b", "c"), "test": texts("t"), "pool": texts("p")}
        made = split(tables, {"validation": 1})
        assert {name: len(at) for name, at in made.places.values()} == {
            "pool": 1, "train": 1, "test": 1,
        }  # fmt: skip

    def test_a_limit_keeps_the_smallest_hashes_and_the_others_are_in_no_split(self) -> None:
        every = [f"row {i}" for i in range(30)]
        tables = {"train": texts(*every[:20]), "test": texts(*every[20:])}
        made = split(tables, {"validation": 8}, limit=5)
        assert made.notes[-2:] == (
            "validation: 3 rows left out by the limit",
            "test: 5 rows left out by the limit",
        )
        found = shown(made, tables)
        assert set(found["test"]) == set(sorted(every[20:], key=order_key)[:5])
        assert len(found["train"]) == 12


class TestRefusals:
    @pytest.mark.parametrize(
        ("counts", "message"),
        [((9, 9, 0), "'maybe' has 0, needed 3"), ((9, 2, 9), "'yes' has 2, needed 3")],
    )
    def test_a_class_that_is_empty_or_too_small_is_named(
        self, counts: tuple[int, ...], message: str
    ) -> None:
        with pytest.raises(UsageError, match=message):
            split({"train": keys(numbered(*counts), classes=True)}, names=NAMES)

    def test_a_class_whose_near_repeats_are_all_held_out_is_named(self) -> None:
        items = sorted((f"item {i}" for i in range(10)), key=order_key)
        rows = [*((item, "", 0) for item in items), *((item, "!", 1) for item in items[:3])]
        with pytest.raises(UsageError, match="'yes' has 0, needed 1"):
            split(
                {"train": keys(rows, classes=True), "test": texts("t")},
                {"validation": 6},
                names=NAMES[:2],
            )

    def test_a_split_that_is_all_in_another_is_named(self) -> None:
        tables = {"train": texts("a"), "test": texts("a")}
        with pytest.raises(UsageError, match="every text of train is in test"):
            split(tables)
        with pytest.raises(UsageError, match="every text of pool is in test"):
            split({**tables, "validation": texts("v"), "pool": texts("a")})

    def test_nothing_left_of_a_split_is_an_error(self) -> None:
        with pytest.raises(UsageError, match="no rows are left for train"):
            split({"train": texts("a", "b"), "test": texts("t")})
        with pytest.raises(UsageError, match="no rows are left for test"):
            split({"train": texts(*"abcdefg"), "test": texts()})


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


@given(st.text())
def test_words_are_compared_without_case_blanks_and_punctuation(text: str) -> None:
    key = word_key(text)
    assert word_key(key) == word_key(text.casefold()) == key
    if any(character.isalnum() for character in text):
        assert word_key(f" {text} .") == key


def test_texts_without_words_are_not_taken_for_one_another() -> None:
    assert word_key("Bad .") == word_key("bad")
    assert len({word_key(mark * n) for mark in "?!" for n in range(1, 7)}) == 12
