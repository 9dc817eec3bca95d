"""Ragged rows, groups of similar length, and the order in which rows are seen."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.kit.training.batching import EncodedRows, length_groups, sample_batches

lengths_of_rows = st.lists(st.integers(1, 60), min_size=1, max_size=12).map(np.array)


def rows(*texts: list[int], side: str = "right", types: bool = False) -> EncodedRows:
    ids = tuple(np.array(text, dtype=np.int32) for text in texts)
    return EncodedRows(
        ids=ids,
        type_ids=tuple(np.ones_like(row) for row in ids) if types else None,
        side=side,
    )


def cost(groups: list[np.ndarray], lengths: np.ndarray, overhead: int) -> int:
    return sum(overhead + len(group) * int(lengths[group].max()) for group in groups)


def cheapest_cut(lengths: np.ndarray, max_rows: int, overhead: int) -> int:
    """Tries every way to cut the sorted rows."""
    order = np.argsort(lengths, kind="stable")
    best = None
    for bits in itertools.product([False, True], repeat=len(order) - 1):
        edges = [0, *(i + 1 for i, cut in enumerate(bits) if cut), len(order)]
        groups = [order[a:b] for a, b in itertools.pairwise(edges)]
        if max(map(len, groups)) <= max_rows:
            candidate = cost(groups, lengths, overhead)
            best = candidate if best is None else min(best, candidate)
    assert best is not None
    return best


class TestPad:
    def test_pads_to_the_longest_of_the_chosen_rows_only(self) -> None:
        encoded = rows([1, 2], [3], [4, 5, 6, 7])
        inputs = encoded.pad(np.array([1, 0]), pad_id=9, device="cpu")
        assert inputs["input_ids"].tolist() == [[3, 9], [1, 2]]
        assert inputs["attention_mask"].tolist() == [[1, 0], [1, 1]]

    def test_pads_on_the_left_where_the_family_does(self) -> None:
        inputs = rows([1, 2], [3], side="left").pad([0, 1], pad_id=9, device="cpu")
        assert inputs["input_ids"].tolist() == [[1, 2], [9, 3]]
        assert inputs["attention_mask"].tolist() == [[1, 1], [0, 1]]

    def test_has_no_mask_when_nothing_is_padded(self) -> None:
        inputs = rows([1, 2], [3, 4]).pad([0, 1], pad_id=0, device="cpu")
        assert set(inputs) == {"input_ids"}

    def test_carries_segments_when_there_are_any(self) -> None:
        inputs = rows([1, 2], [3], types=True).pad([0, 1], pad_id=0, device="cpu")
        assert inputs["token_type_ids"].tolist() == [[1, 1], [1, 0]]
        assert inputs["token_type_ids"].dtype == torch.int64


def test_take_keeps_the_order_asked_for() -> None:
    taken = rows([1], [2, 2], [3, 3, 3], types=True).take([2, 0])
    assert [row.tolist() for row in taken.ids] == [[3, 3, 3], [1]]
    assert taken.type_ids is not None
    assert taken.lengths.tolist() == [3, 1] == [len(row) for row in taken.type_ids]


class TestLengthGroups:
    @settings(deadline=None)
    @given(lengths_of_rows, st.integers(1, 12), st.integers(0, 80))
    def test_partitions_the_rows_at_the_least_cost(
        self, lengths: np.ndarray, max_rows: int, overhead: int
    ) -> None:
        groups = length_groups(lengths, max_rows, overhead=overhead)
        assert sorted(np.concatenate(groups)) == list(range(len(lengths)))
        assert max(map(len, groups)) <= max_rows
        assert cost(groups, lengths, overhead) == cheapest_cut(lengths, max_rows, overhead)

    @settings(deadline=None)
    @given(lengths_of_rows, st.integers(1, 120))
    def test_no_group_but_a_single_long_row_exceeds_the_token_limit(
        self, lengths: np.ndarray, max_tokens: int
    ) -> None:
        groups = length_groups(lengths, 12, overhead=1000, max_tokens=max_tokens)
        for group in groups:
            assert len(group) == 1 or len(group) * lengths[group].max() <= max_tokens

    def test_a_free_group_means_no_padding_at_all(self) -> None:
        lengths = np.array([5, 3, 5, 3, 9])
        groups = length_groups(lengths, 64, overhead=0)
        assert all(len(set(lengths[group])) == 1 for group in groups)

    def test_a_dear_group_means_one_group(self) -> None:
        assert len(length_groups(np.array([5, 3, 5, 3, 9]), 64, overhead=10_000)) == 1

    def test_longest_rows_come_first(self) -> None:
        lengths = np.array([5, 30, 60])
        assert [int(g[0]) for g in length_groups(lengths, 1, overhead=1)] == [2, 1, 0]


class TestSampleBatches:
    def batches(self, rows: int, batch_size: int, steps: int, seed: int = 0) -> list[np.ndarray]:
        return list(sample_batches(rows, batch_size, steps, np.random.default_rng(seed)))

    def test_65_rows_in_batches_of_64_are_all_seen_within_two_steps(self) -> None:
        batches = self.batches(65, 64, 2)
        assert set(np.concatenate(batches)) == set(range(65))

    @settings(deadline=None)
    @given(st.integers(1, 40), st.integers(1, 20), st.integers(1, 30))
    def test_no_row_is_seen_twice_more_than_another_or_dropped(
        self, rows: int, batch_size: int, steps: int
    ) -> None:
        batches = self.batches(rows, batch_size, steps)
        assert [len(b) for b in batches] == [min(rows, batch_size)] * steps
        counts = np.bincount(np.concatenate(batches), minlength=rows)
        assert counts.max() - counts.min() <= 1

    @pytest.mark.parametrize("rows", [1, 40, 64])
    def test_a_small_set_is_one_whole_batch_every_step(self, rows: int) -> None:
        for batch in self.batches(rows, 64, 3):
            assert sorted(batch) == list(range(rows))

    def test_the_seed_decides_the_order(self) -> None:
        first, again, other = (np.concatenate(self.batches(50, 8, 9, seed)) for seed in (0, 0, 1))
        assert (first == again).all()
        assert (first != other).any()
