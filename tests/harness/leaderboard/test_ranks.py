"""Ranks against a published example, SciPy's test and a slow bootstrap."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import friedmanchisquare

from harness.leaderboard.ranks import AverageRanks, RankInterval, average_ranks, rank_intervals

# Areas under the ROC curve of four variants of C4.5 on fourteen data sets: table 6 of Demšar,
# "Statistical comparisons of classifiers over multiple data sets" (2006).
DEMSAR = [
    (0.763, 0.768, 0.771, 0.798),
    (0.599, 0.591, 0.590, 0.569),
    (0.954, 0.971, 0.968, 0.967),
    (0.628, 0.661, 0.654, 0.657),
    (0.882, 0.888, 0.886, 0.898),
    (0.936, 0.931, 0.916, 0.931),
    (0.661, 0.668, 0.609, 0.685),
    (0.583, 0.583, 0.563, 0.625),
    (0.775, 0.838, 0.866, 0.875),
    (1.000, 1.000, 1.000, 1.000),
    (0.940, 0.962, 0.965, 0.962),
    (0.619, 0.666, 0.614, 0.669),
    (0.972, 0.981, 0.9751, 0.975),  # printed as a tie; the paper's ranks show the third ahead
    (0.957, 0.978, 0.946, 0.970),
]


class TestAverageRanks:
    def test_the_published_ranks_and_critical_difference(self) -> None:
        found = average_ranks(DEMSAR)
        assert found.ranks == pytest.approx((3.143, 2.000, 2.893, 1.964), abs=5e-4)
        assert found.critical_difference == pytest.approx(1.25, abs=0.005)

    def test_the_p_value_is_scipys_friedman(self) -> None:
        found = average_ranks(DEMSAR)
        assert found.p_value == pytest.approx(friedmanchisquare(*np.array(DEMSAR).T).pvalue)

    def test_equal_methods_share_a_rank_and_do_not_differ(self) -> None:
        found = average_ranks([[0.5, 0.5, 0.5], [0.7, 0.7, 0.7]])
        assert found.ranks == (2.0, 2.0, 2.0)
        assert found.p_value == 1.0
        assert found.cliques() == [(0, 1, 2)]

    @given(st.integers(2, 6), st.integers(3, 6), st.integers(0, 99))
    @settings(max_examples=25)
    def test_ranks_add_up_and_follow_the_methods(
        self, data_sets: int, methods: int, seed: int
    ) -> None:
        generator = np.random.default_rng(seed)
        scores = generator.integers(0, 4, (data_sets, methods)) / 4
        found = average_ranks(scores.tolist())
        assert sum(found.ranks) == pytest.approx(methods * (methods + 1) / 2)
        order = generator.permutation(methods)
        shuffled = average_ranks(scores[:, order].tolist())
        assert shuffled.ranks == pytest.approx([found.ranks[i] for i in order])

    @pytest.mark.parametrize(
        "scores", [[[0.1, 0.2, 0.3]], [[0.1, 0.2], [0.1, 0.3]], [[0.1, 0.2, np.nan]] * 3]
    )
    def test_too_little_to_rank_is_refused(self, scores: list[list[float]]) -> None:
        with pytest.raises(ValueError):
            average_ranks(scores)


class TestCliques:
    @staticmethod
    def of(*ranks: float, distance: float = 1.0) -> list[tuple[int, ...]]:
        return AverageRanks(ranks, 1.0, distance).cliques()

    def test_groups_overlap_and_none_lies_inside_another(self) -> None:
        assert self.of(1.0, 1.8, 2.6, 4.6) == [(0, 1), (1, 2)]

    def test_the_order_of_the_methods_does_not_matter(self) -> None:
        assert self.of(4.6, 2.6, 1.8, 1.0) == [(3, 2), (2, 1)]

    def test_far_apart_there_are_none(self) -> None:
        assert self.of(1.0, 2.5, 4.0) == []


class TestRankIntervals:
    @staticmethod
    def scores(*levels: float, seeds: int = 4, items: int = 300, seed: int = 3) -> np.ndarray:
        """Methods that are right as often as their levels say, on items of uneven difficulty."""
        generator = np.random.default_rng(seed)
        difficulty = generator.normal(0, 0.1, (1, 1, items))
        luck = generator.normal(0, 0.02, (len(levels), seeds, 1))
        chance = np.array(levels)[:, None, None] + difficulty + luck
        return (generator.random((len(levels), seeds, items)) < chance).astype(np.float64)

    def test_a_clear_winner_and_a_clear_loser_keep_their_places(self) -> None:
        winner, _, _, loser = rank_intervals(self.scores(0.9, 0.6, 0.6, 0.2))
        assert winner == RankInterval(1, 1)
        assert loser == RankInterval(4, 4)

    def test_methods_that_cannot_be_told_apart_share_their_places(self) -> None:
        intervals = rank_intervals(self.scores(0.9, 0.6, 0.6, 0.2))
        assert intervals[1:3] == (RankInterval(2, 3), RankInterval(2, 3))

    def test_equal_methods_could_hold_any_place(self) -> None:
        scores = np.repeat(self.scores(0.5), 3, axis=0)
        assert rank_intervals(scores) == (RankInterval(1, 3),) * 3

    def test_the_true_rank_is_inside_as_often_as_promised(self) -> None:
        levels = (0.70, 0.67, 0.64, 0.55)
        inside = [
            intervals[method].low <= method + 1 <= intervals[method].high
            for seed in range(150)
            for intervals in [rank_intervals(self.scores(*levels, seeds=3, seed=seed))]
            for method in range(len(levels))
        ]
        assert np.mean(inside) >= 0.95

    @pytest.mark.parametrize("shape", [(2, 3), (2, 1, 5), (2, 5, 1)])
    def test_what_is_not_methods_by_seeds_by_items_is_refused(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(ValueError):
            rank_intervals(np.ones(shape))
