"""Statistics against SciPy, slow definitions, published values and simulated coverage."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from harness.leaderboard.stats import (
    Interval,
    bootstrap_difference,
    crossed_mean,
    estimate_mean,
    holm,
    mcnemar,
    paired_difference,
    sampling_variance,
)

FRACTIONS = st.floats(0, 1)
SPREAD_OUT = st.lists(FRACTIONS, min_size=2, max_size=12).filter(lambda v: np.ptp(v) > 1e-3)


class TestMean:
    def test_the_sd_has_one_degree_of_freedom_less_than_values(self) -> None:
        assert estimate_mean([1, 2, 3]).sd == pytest.approx(1.0)

    def test_the_published_interval_of_five_accuracies(self) -> None:
        interval = estimate_mean([0.5, 0.6, 0.55, 0.52, 0.58]).interval
        assert interval is not None
        assert (interval.low, interval.high) == pytest.approx((0.4988, 0.6012), abs=5e-5)

    def test_one_value_has_a_mean_but_neither_sd_nor_interval(self) -> None:
        estimate = estimate_mean([0.7])
        assert (estimate.mean, estimate.n, estimate.sd, estimate.interval) == (0.7, 1, None, None)

    def test_equal_values_have_an_interval_of_no_width(self) -> None:
        estimate = estimate_mean([0.1] * 3)
        assert estimate.sd == 0
        assert estimate.interval is not None
        assert estimate.interval.low == estimate.interval.high == pytest.approx(0.1)

    @given(values=SPREAD_OUT, confidence=st.sampled_from([0.9, 0.95, 0.99]))
    def test_the_interval_is_scipys(self, values: list[float], confidence: float) -> None:
        expected = scipy.stats.t.interval(
            confidence, len(values) - 1, loc=np.mean(values), scale=scipy.stats.sem(values)
        )
        interval = estimate_mean(values, confidence=confidence).interval
        assert interval is not None
        assert (interval.low, interval.high) == pytest.approx(expected, rel=1e-9, abs=1e-12)

    @pytest.mark.parametrize("n", [3, 5])
    def test_the_interval_covers_the_truth_as_often_as_it_says(self, n: int) -> None:
        draws = np.random.default_rng(20260101).normal(0.7, 0.02, size=(4000, n))
        covered = sum(
            interval.covers(0.7) for row in draws if (interval := estimate_mean(row).interval)
        )
        assert 0.93 <= covered / len(draws) <= 0.97

    @pytest.mark.parametrize("values", [[], [0.5, float("nan")], [float("inf")]])
    def test_values_that_cannot_be_averaged_are_refused(self, values: list[float]) -> None:
        with pytest.raises(ValueError):
            estimate_mean(values)


class TestPairedDifference:
    @given(
        pairs=st.lists(st.tuples(FRACTIONS, FRACTIONS), min_size=2, max_size=10).filter(
            lambda pairs: np.ptp([a - b for a, b in pairs]) > 1e-3
        )
    )
    def test_it_is_scipys_paired_t_test(self, pairs: list[tuple[float, float]]) -> None:
        first, second = zip(*pairs, strict=True)
        expected = scipy.stats.ttest_rel(first, second)
        found = paired_difference(first, second)
        assert found.interval is not None
        assert found.p_value == pytest.approx(expected.pvalue, rel=1e-7, abs=1e-12)
        assert (found.interval.low, found.interval.high) == pytest.approx(
            tuple(expected.confidence_interval(0.95)), rel=1e-7, abs=1e-12
        )

    @given(first=SPREAD_OUT)
    def test_swapping_the_methods_negates_the_difference(self, first: list[float]) -> None:
        second = list(reversed(first))
        forth, back = paired_difference(first, second), paired_difference(second, first)
        assert back.mean == pytest.approx(-forth.mean)
        assert back.p_value == pytest.approx(forth.p_value)

    @given(values=st.lists(FRACTIONS, min_size=2, max_size=5))
    def test_a_method_compared_with_itself_differs_by_exactly_nothing(
        self, values: list[float]
    ) -> None:
        same = paired_difference(values, values)
        assert (same.mean, same.p_value) == (0, 1.0)

    def test_one_pair_has_a_difference_but_no_interval_and_no_p_value(self) -> None:
        one = paired_difference([0.7], [0.6])
        assert one.mean == pytest.approx(0.1)
        assert (one.interval, one.p_value) == (None, None)

    def test_equal_differences_are_not_certainty(self) -> None:
        assert paired_difference([0.7, 0.8, 0.9], [0.6, 0.7, 0.8]).p_value is None

    def test_pairs_need_partners(self) -> None:
        with pytest.raises(ValueError, match="equal lengths"):
            paired_difference([0.1, 0.2], [0.1])


class TestHolm:
    P_VALUES = st.lists(FRACTIONS, max_size=8)

    @staticmethod
    def slow(p_values: list[float]) -> list[float]:
        """Adjusted p = the smallest level at which Holm's steps reject that hypothesis."""
        m = len(p_values)
        ordered = sorted(p_values)
        return [
            max(min(1.0, (m - j) * ordered[j]) for j in range(m) if ordered[j] <= p)
            for p in p_values
        ]

    @given(P_VALUES)
    def test_it_is_the_slow_definition(self, p_values: list[float]) -> None:
        assert holm(p_values) == pytest.approx(self.slow(p_values))

    @given(P_VALUES)
    def test_it_keeps_the_order_never_lowers_and_stays_below_one(
        self, p_values: list[float]
    ) -> None:
        adjusted = holm(p_values)
        for (p, q), (a, b) in zip(
            itertools.combinations(p_values, 2), itertools.combinations(adjusted, 2), strict=True
        ):
            assert p > q or a <= b
        assert all(p <= a <= 1 for p, a in zip(p_values, adjusted, strict=True))

    def test_holms_own_kind_of_example(self) -> None:
        assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))

    @pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
    def test_what_is_not_a_p_value_is_refused(self, p: float) -> None:
        with pytest.raises(ValueError, match="p-values"):
            holm([0.5, p])


class TestMcNemar:
    @staticmethod
    def runs(both: int, only_first: int, only_second: int, none: int) -> tuple[list, list]:
        first = [True] * (both + only_first) + [False] * (only_second + none)
        second = [True] * both + [False] * only_first + [True] * only_second + [False] * none
        return first, second

    def test_the_published_example(self) -> None:
        assert mcnemar(*self.runs(50, 20, 7, 23)) == pytest.approx(0.0192, abs=5e-5)

    def test_runs_that_agree_everywhere_do_not_differ(self) -> None:
        assert mcnemar(*self.runs(5, 0, 0, 5)) == 1.0

    @given(only_first=st.integers(0, 25), only_second=st.integers(0, 25))
    def test_it_is_twice_the_binomial_tail(self, only_first: int, only_second: int) -> None:
        n = only_first + only_second
        tail = scipy.stats.binom.cdf(min(only_first, only_second), n, 0.5)
        p = mcnemar(*self.runs(3, only_first, only_second, 2))
        assert p == pytest.approx(min(1.0, 2 * tail))

    def test_runs_on_other_items_are_refused(self) -> None:
        with pytest.raises(ValueError, match="same items"):
            mcnemar([True, False], [True])


class TestCrossedMean:
    @staticmethod
    def differences(
        generator: np.random.Generator, seeds: int, items: int, seed_sd: float, item_sd: float
    ) -> np.ndarray:
        """Item scores that differ by 0.05 for new seeds and new items."""
        by_seed = generator.normal(0, seed_sd, (seeds, 1))
        by_item = generator.normal(0, item_sd, (1, items))
        return 0.05 + by_seed + by_item + generator.normal(0, 0.4, (seeds, items))

    @pytest.mark.parametrize(
        ("seeds", "items", "seed_sd", "item_sd"),
        [(3, 200, 0.03, 0.3), (3, 200, 0.0, 0.3), (5, 400, 0.02, 0.3), (10, 200, 0.03, 0.1)],
    )
    def test_it_covers_the_truth_as_often_as_it_says(
        self, seeds: int, items: int, seed_sd: float, item_sd: float
    ) -> None:
        generator = np.random.default_rng(0)
        means = [
            crossed_mean(self.differences(generator, seeds, items, seed_sd, item_sd))
            for _ in range(2000)
        ]
        covered = sum(mean.interval().covers(0.05) for mean in means if mean)
        assert 0.93 <= covered / len(means) <= 0.97

    def test_the_variance_is_the_sum_of_the_components_of_anova(self) -> None:
        values = self.differences(np.random.default_rng(1), 4, 7, 0.3, 0.3)
        seeds, items = values.shape
        grand = values.mean()
        ms_seeds = sum(items * (row.mean() - grand) ** 2 for row in values) / (seeds - 1)
        ms_items = sum(seeds * (col.mean() - grand) ** 2 for col in values.T) / (items - 1)
        rest = sum(
            (values[s, i] - values[s].mean() - values[:, i].mean() + grand) ** 2
            for s in range(seeds)
            for i in range(items)
        ) / ((seeds - 1) * (items - 1))
        size = seeds * items
        variance = (ms_seeds + ms_items - rest) / size
        freedom = (variance * size) ** 2 / (
            ms_seeds**2 / (seeds - 1)
            + ms_items**2 / (items - 1)
            + rest**2 / ((seeds - 1) * (items - 1))
        )
        low, high = scipy.stats.t.interval(0.95, freedom, grand, variance**0.5)
        found = crossed_mean(values)
        assert found is not None
        interval = found.interval()
        assert (interval.low, interval.high) == pytest.approx((low, high))

    def test_its_p_value_and_its_interval_agree(self) -> None:
        generator = np.random.default_rng(2)
        for _ in range(20):
            found = crossed_mean(self.differences(generator, 3, 30, 0.05, 0.1))
            assert found is not None
            edge = found.interval(1 - found.p_value)
            assert min(abs(edge.low), abs(edge.high)) == pytest.approx(0, abs=1e-9)

    def test_without_differences_between_items_it_is_the_interval_over_seeds(self) -> None:
        values = np.repeat(np.array([[0.1], [0.2], [0.4]]), 500, axis=1)
        found, over_seeds = crossed_mean(values), estimate_mean([0.1, 0.2, 0.4]).interval
        assert found is not None
        assert over_seeds is not None
        interval = found.interval()
        assert (interval.low, interval.high) == pytest.approx((over_seeds.low, over_seeds.high))

    def test_a_method_compared_with_itself_differs_by_exactly_nothing(self) -> None:
        found = crossed_mean(np.zeros((3, 50)))
        assert found is not None
        assert (found.interval(), found.p_value) == (Interval(0.0, 0.0), 1.0)

    @pytest.mark.parametrize("shape", [(1, 50), (3, 1)])
    def test_one_seed_or_one_item_has_no_interval(self, shape: tuple[int, int]) -> None:
        assert crossed_mean(np.zeros(shape)) is None

    @pytest.mark.parametrize("values", [np.zeros(3), np.zeros((0, 3)), np.full((2, 2), np.nan)])
    def test_what_is_not_seeds_by_items_is_refused(self, values: np.ndarray) -> None:
        with pytest.raises(ValueError):
            crossed_mean(values)


class TestBootstrap:
    @staticmethod
    def slow(first: np.ndarray, second: np.ndarray, draws: int) -> tuple[float, float]:
        """Resamples seed by seed and item by item, from other random numbers."""
        generator = np.random.default_rng(99)
        seeds, items = first.shape
        means = []
        for _ in range(draws):
            drawn_items = generator.integers(0, items, items)
            drawn = [
                first[s, drawn_items].mean() - second[s, drawn_items].mean()
                for s in generator.integers(0, seeds, size=(seeds,))
            ]
            means.append(np.mean(drawn))
        low, high = np.quantile(means, [0.025, 0.975])
        return float(low), float(high)

    @staticmethod
    def scores(seeds: int = 4, items: int = 60) -> tuple[np.ndarray, np.ndarray]:
        generator = np.random.default_rng(5)
        difficulty = generator.random(items)
        first = (generator.random((seeds, items)) < 0.3 + 0.6 * difficulty).astype(float)
        second = (generator.random((seeds, items)) < 0.1 + 0.6 * difficulty).astype(float)
        return first, second

    def test_it_agrees_with_a_slow_loop(self) -> None:
        first, second = self.scores()
        found = bootstrap_difference(first, second, draws=8000)
        assert (found.low, found.high) == pytest.approx(self.slow(first, second, 8000), abs=0.01)

    def test_with_many_seeds_it_covers_the_truth_as_often_as_it_says(self) -> None:
        generator = np.random.default_rng(0)
        nothing = np.zeros((20, 60))
        covered = []
        for _ in range(400):
            seeds, items = generator.normal(0, 0.03, (20, 1)), generator.normal(0, 0.3, (1, 60))
            scores = 0.05 + seeds + items + generator.normal(0, 0.4, (20, 60))
            covered.append(bootstrap_difference(scores, nothing).covers(0.05))
        assert 0.93 <= np.mean(covered) <= 0.97

    def test_it_is_the_same_every_time_and_holds_the_difference(self) -> None:
        first, second = self.scores()
        found = bootstrap_difference(first, second)
        assert found == bootstrap_difference(first, second)
        assert found != bootstrap_difference(first, second, seed=1)
        assert found.covers(first.mean() - second.mean())

    def test_working_in_blocks_changes_nothing_but_the_draws(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first, second = self.scores()
        whole = bootstrap_difference(first, second, draws=8000)
        monkeypatch.setattr("harness.leaderboard.stats._ITEMS_AT_ONCE", 700 * first.shape[1])
        blocks = bootstrap_difference(first, second, draws=8000)
        assert (blocks.low, blocks.high) == pytest.approx((whole.low, whole.high), abs=0.01)

    def test_pairing_by_item_removes_what_the_items_have_in_common(self) -> None:
        first, _ = self.scores()
        assert bootstrap_difference(first, first) == Interval(0, 0)

    def test_more_seeds_do_not_remove_the_error_of_the_shared_items(self) -> None:
        row, other = (scores[:1] for scores in self.scores())
        one = bootstrap_difference(row, other)
        many = bootstrap_difference(np.repeat(row, 20, axis=0), np.repeat(other, 20, axis=0))
        assert many.half_width == pytest.approx(one.half_width, rel=0.1)

    def test_negating_the_roles_mirrors_the_interval(self) -> None:
        first, second = self.scores()
        forth, back = bootstrap_difference(first, second), bootstrap_difference(second, first)
        assert (back.low, back.high) == pytest.approx((-forth.high, -forth.low))

    @pytest.mark.parametrize(
        ("first", "second", "draws"),
        [
            (np.ones((2, 3)), np.ones((2, 4)), 2000),
            (np.ones(3), np.ones(3), 2000),
            (np.ones((0, 3)), np.ones((0, 3)), 2000),
            (np.ones((2, 3)), np.full((2, 3), np.nan), 2000),
            (np.ones((2, 3)), np.ones((2, 3)), 1999),
        ],
    )
    def test_what_cannot_be_resampled_is_refused(
        self, first: np.ndarray, second: np.ndarray, draws: int
    ) -> None:
        with pytest.raises(ValueError):
            bootstrap_difference(first, second, draws=draws)


class TestSamplingVariance:
    @given(right=st.integers(0, 50), wrong=st.integers(0, 50))
    def test_of_right_and_wrong_it_is_p_times_q_over_n(self, right: int, wrong: int) -> None:
        n = right + wrong
        if n == 0:
            return
        p = right / n
        scores = np.array([1] * right + [0] * wrong, dtype=np.uint8)
        assert sampling_variance(scores) == pytest.approx(p * (1 - p) / n)

    @given(arrays(np.float64, st.integers(1, 20), elements=FRACTIONS))
    def test_graded_items_vary_no_more_than_right_and_wrong_ones(self, scores: np.ndarray) -> None:
        p = scores.mean()
        assert sampling_variance(scores) <= p * (1 - p) / len(scores) + 1e-12

    def test_no_items_are_refused(self) -> None:
        with pytest.raises(ValueError, match="no items"):
            sampling_variance(np.array([]))
