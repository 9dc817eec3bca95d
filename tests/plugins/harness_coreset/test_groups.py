"""Which rows may be chosen, and how the places are shared among the classes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.budget import Budget
from harness.errors import UsageError
from harness.kit.selection.row_pool import pooled_rows
from harness.testing.toys import toy_task
from harness_coreset.groups import shares, split_groups, train_labels

labelled = st.lists(st.integers(0, 2), min_size=1, max_size=60).map(np.array)


def test_balanced_groups_are_the_classes_with_their_shares() -> None:
    task = toy_task(classes=3)
    wanted = shares(task, Budget.parse("7rows"), balanced=True)
    groups = split_groups(train_labels(task), wanted, 7)
    assert [(group.name, group.quota) for group in groups] == [("0", 3), ("1", 2), ("2", 2)]
    for label, group in enumerate(groups):
        assert set(train_labels(task)[group.members]) == {label}
        assert len(group.members) == 20


def test_a_class_without_a_place_has_no_group() -> None:
    task = toy_task(classes=3)
    wanted = shares(task, Budget.parse("2rows"), balanced=True)
    assert [g.name for g in split_groups(train_labels(task), wanted, 2)] == ["0", "1"]


def test_unbalanced_rows_compete_in_one_group() -> None:
    task = toy_task()
    wanted = shares(task, Budget.parse("5/class"), balanced=False)
    (group,) = split_groups(train_labels(task), wanted, 10)
    assert (group.name, group.quota, len(group.members)) == ("all", 10, 60)


@given(labels=labelled, excess=st.integers(0, 5))
def test_a_pool_of_nothing_or_of_more_than_there_is_is_everything(
    labels: np.ndarray, excess: int
) -> None:
    for pool in (0, len(labels) + excess):
        assert pooled_rows(labels, pool, [0, 0, 0], 1).tolist() == list(range(len(labels)))


@given(labels=labelled, data=st.data())
def test_a_pool_keeps_the_shares_of_the_classes(labels: np.ndarray, data: st.DataObject) -> None:
    pool = data.draw(st.integers(1, len(labels)))
    rows = pooled_rows(labels, pool, [0, 0, 0], 1)
    assert rows.tolist() == sorted(set(rows.tolist()))
    assert pool <= len(rows) <= pool + 2 or len(rows) == len(labels)
    for label in range(3):
        share = math.ceil(pool * int((labels == label).sum()) / len(labels))
        assert int((labels[rows] == label).sum()) == share


def test_a_pool_holds_what_is_wanted_of_a_rare_class() -> None:
    labels = np.array([0] * 90 + [1] * 10)
    rows = pooled_rows(labels, 20, [8, 8], 16)
    assert np.bincount(labels[rows]).tolist() == [18, 8]


def test_a_larger_pool_contains_a_smaller_one() -> None:
    labels = np.arange(100) % 2
    small, large = (set(pooled_rows(labels, pool, [1, 1], 2)) for pool in (10, 30))
    assert small < large


def test_a_pool_smaller_than_the_budget_is_refused() -> None:
    with pytest.raises(UsageError, match="pool of 10 rows is less than the budget of 12"):
        pooled_rows(np.zeros(50, dtype=int), 10, [12], 12)
