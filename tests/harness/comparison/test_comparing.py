"""The numbers of a comparison, against SciPy and slow loops, and what it refuses to compare."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats

import harness
from harness.comparison.comparing import compare
from harness.comparison.findings import Comparison, RowComparison
from harness.errors import UsageError
from harness.records.record import PackedArray, Record

GRID = [(d, f) for d in range(3) for f in range(2)]


def only_row(comparison: Comparison) -> RowComparison:
    (row,) = comparison.rows
    return row


def scores_of(records: list[Record]) -> np.ndarray:
    return np.stack([record.item_scores for record in records]).astype(float)


class TestSeeds:
    def test_the_difference_is_the_paired_t_test_over_seeds(self, write: Any, draw: Any) -> None:
        a, b = draw("dilm", 0.8), draw("herding", 0.6)
        row = only_row(compare("dilm", "herding", folder=write("r", [*a, *b])))
        expected = scipy.stats.ttest_rel([r.value for r in a], [r.value for r in b])
        low, high = expected.confidence_interval(0.95)
        assert row.difference.interval is not None
        assert row.difference.p_value == pytest.approx(expected.pvalue)
        assert (row.difference.interval.low, row.difference.interval.high) == pytest.approx(
            (low, high)
        )

    def test_fitting_seeds_are_averaged_inside_a_distilling_seed(
        self, write: Any, draw: Any
    ) -> None:
        a, b = draw("dilm", 0.8, runs=GRID), draw("herding", 0.6, runs=GRID)
        row = only_row(compare("dilm", "herding", folder=write("r", [*a, *b])))
        means = [np.array([r.value for r in side]).reshape(3, 2).mean(axis=1) for side in (a, b)]
        assert row.difference.n == 3
        assert row.difference.p_value == pytest.approx(scipy.stats.ttest_rel(*means).pvalue)

    def test_swapping_the_sides_turns_every_sign(self, write: Any, draw: Any) -> None:
        folder = write("r", [*draw("dilm", 0.9, items=400), *draw("herding", 0.3, items=400)])
        one = only_row(compare("dilm", "herding", folder=folder))
        other = only_row(compare("herding", "dilm", folder=folder))
        assert (one.verdict, other.verdict) == ("A is better", "B is better")
        assert one.difference.mean == pytest.approx(-other.difference.mean)
        assert one.items is not None
        assert other.items is not None
        assert one.items.counts is not None
        assert other.items.counts is not None
        assert one.items.counts.only_first == other.items.counts.only_second
        assert one.items.always_first == other.items.always_second
        assert [m.p_value for m in one.items.mcnemar] == [m.p_value for m in other.items.mcnemar]
        assert one.items.bootstrap is not None
        assert other.items.bootstrap is not None
        assert one.items.bootstrap.low == pytest.approx(-other.items.bootstrap.high)

    def test_holm_covers_all_rows_that_are_compared(self, write: Any, make_record: Any) -> None:
        values = {"a": [0.61, 0.64, 0.66], "b": [0.5, 0.7, 0.6], "c": [0.40, 0.43, 0.44]}
        shifts = {"a": [0.1, 0.12, 0.11], "b": [0.1, -0.1, 0.03], "c": [0.02, 0.06, 0.05]}
        before = [r for name, v in values.items() for r in make_record.seeds(name, v)]
        after = [
            r
            for name, v in values.items()
            for r in make_record.seeds(name, [x + y for x, y in zip(v, shifts[name], strict=True)])
        ]
        comparison = compare(write("before", before), write("after", after))
        p = [scipy.stats.ttest_1samp(shifts[name], 0).pvalue for name in "abc"]
        order = np.argsort(p)
        expected = np.empty(3)
        expected[order] = np.maximum.accumulate(np.array([3, 2, 1]) * np.array(p)[order])
        adjusted = [row.p_adjusted for row in comparison.rows]
        assert adjusted == pytest.approx(np.minimum(expected, 1).tolist())
        assert comparison.tested == 3

    def test_one_seed_has_no_interval_and_no_verdict(self, write: Any, draw: Any) -> None:
        runs = [(0, 0), (0, 1)]
        records = [*draw("dilm", 0.9, runs=runs), *draw("herding", 0.2, runs=runs)]
        row = only_row(compare("dilm", "herding", folder=write("r", records)))
        assert row.verdict is row.p_adjusted is row.difference.interval is None
        assert row.items is not None
        assert row.items.bootstrap is None
        assert len(row.items.mcnemar) == 2
        assert row.unjudged == "one seed: no interval, no verdict"

    def test_equal_differences_are_no_certainty(self, write: Any, make_record: Any) -> None:
        records = [*make_record.seeds("a", [0.6, 0.7]), *make_record.seeds("b", [0.5, 0.6])]
        row = only_row(compare("a", "b", folder=write("r", records)))
        assert row.verdict is None
        assert "no spread" in row.unjudged

    def test_only_common_seeds_count_and_the_others_are_named(self, write: Any, draw: Any) -> None:
        a, b = (
            draw("dilm", 0.8, runs=[(0, 0), (1, 0), (2, 0)]),
            draw("herding", 0.6, runs=[(1, 0), (2, 0), (3, 1)]),
        )
        row = only_row(compare("dilm", "herding", folder=write("r", [*a, *b])))
        assert row.runs == ((1, 0), (2, 0))
        assert (row.only_first_runs, row.only_second_runs) == (((0, 0),), ((3, 1),))
        assert row.first.mean == pytest.approx(np.mean([r.value for r in a[1:]]))


class TestItems:
    def test_counts_and_mcnemar_are_those_of_a_slow_loop(self, write: Any, draw: Any) -> None:
        a, b = draw("dilm", 0.8, runs=GRID), draw("herding", 0.6, runs=GRID)
        items = only_row(compare("dilm", "herding", folder=write("r", [*a, *b]))).items
        assert items is not None
        assert items.counts is not None
        pooled: Counter[tuple[int, int]] = Counter()
        for one, other, test in zip(a, b, items.mcnemar, strict=True):
            pairs = Counter(zip(one.item_scores.tolist(), other.item_scores.tolist(), strict=True))
            pooled += pairs
            wins, losses = pairs[1, 0], pairs[0, 1]
            expected = scipy.stats.binomtest(wins, wins + losses, 0.5).pvalue
            assert (test.only_first, test.only_second) == (wins, losses)
            assert test.p_value == pytest.approx(expected)
        counts = items.counts
        assert (counts.both, counts.only_first, counts.only_second, counts.neither) == (
            pooled[1, 1],
            pooled[1, 0],
            pooled[0, 1],
            pooled[0, 0],
        )

    def test_the_interval_is_near_that_of_a_bootstrap_loop(self, write: Any, draw: Any) -> None:
        a, b = draw("dilm", 0.8, runs=GRID), draw("herding", 0.6, runs=GRID)
        items = only_row(compare("dilm", "herding", folder=write("r", [*a, *b]))).items
        assert items is not None
        assert items.bootstrap is not None
        gap = (scores_of(a) - scores_of(b)).reshape(3, 2, 60).mean(axis=1)
        generator = np.random.default_rng(7)
        means = []
        for _ in range(4000):
            seeds = generator.integers(0, 3, 3)
            chosen = generator.integers(0, 60, 60)
            means.append(np.mean([gap[seed][chosen].mean() for seed in seeds]))
        low, high = np.quantile(means, [0.025, 0.975])
        assert items.bootstrap.low == pytest.approx(low, abs=0.02)
        assert items.bootstrap.high == pytest.approx(high, abs=0.02)
        assert items.difference == pytest.approx(gap.mean())
        assert items.crossed is not None
        assert items.crossed.low < gap.mean() < items.crossed.high

    def test_the_items_named_are_those_with_the_largest_leads(self, write: Any, draw: Any) -> None:
        a, b = draw("dilm", 0.7), draw("herding", 0.6)
        items = only_row(compare("dilm", "herding", folder=write("r", [*a, *b]), items=4)).items
        assert items is not None
        lead = scores_of(a).mean(axis=0) - scores_of(b).mean(axis=0)
        best = sorted(range(60), key=lambda i: (-lead[i], i))[:4]
        worst = sorted(range(60), key=lambda i: (lead[i], i))[:4]
        assert [item.position for item in items.most_first] == best
        assert [item.position for item in items.most_second] == worst
        assert items.always_first == int((lead == 1).sum())
        assert items.always_second == int((lead == -1).sum())

    def test_an_item_without_a_lead_is_never_named(self, write: Any, make_record: Any) -> None:
        records = [make_record("a", 0.505), make_record("b", 0.5)]
        items = only_row(compare("a", "b", folder=write("r", records), items=50)).items
        assert items is not None
        assert [(item.position, item.first, item.second) for item in items.most_first] == [
            (100, 1, 0)
        ]
        assert items.most_second == ()

    def test_scores_between_0_and_1_have_an_interval_but_no_mcnemar(
        self, write: Any, make_record: Any
    ) -> None:
        generator = np.random.default_rng(3)
        records = []
        for method in ("a", "b"):
            for seed in (0, 1):
                scores = generator.random(50)
                packed = {"score": PackedArray.pack(scores)}
                records.append(make_record(method, scores.mean(), distill_seed=seed, items=packed))
        items = only_row(compare("a", "b", folder=write("r", records))).items
        assert items is not None
        assert items.bootstrap is not None
        assert (items.counts, items.mcnemar) == (None, ())

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"items": {}}, "kept no item scores"),
            ({"items": {"score": PackedArray.pack(np.ones(7))}}, "numbers of items (7 and 200)"),
            ({"items": {"score": PackedArray.pack(np.full(200, np.nan))}}, "not finite"),
        ],
    )
    def test_items_that_are_not_the_same_are_not_paired(
        self, write: Any, make_record: Any, change: dict[str, Any], reason: str
    ) -> None:
        records = [*make_record.seeds("a", [0.6, 0.7]), *make_record.seeds("b", [0.6, 0.65])]
        records[-1] = replace(records[-1], **change)
        row = only_row(compare("a", "b", folder=write("r", records)))
        assert row.items is None
        assert reason in row.no_items
        assert row.verdict == "no evidence of a difference"

    def test_other_test_items_are_refused_and_never_paired_even_when_mixing(
        self, write: Any, make_record: Any
    ) -> None:
        before = make_record.seeds("a", [0.6, 0.7])
        task = replace(before[0].task, test_fingerprint="d" * 64)
        after = [replace(record, task=task) for record in before]
        folders = write("before", before), write("after", after)
        with pytest.raises(UsageError, match="test fingerprint"):
            compare(*folders)
        comparison = compare(*folders, allow_mixed=True)
        row = only_row(comparison)
        assert row.items is None
        assert "test items are not the same" in row.no_items
        assert "test fingerprint" in comparison.mixed[0]


class TestRefusals:
    def test_other_protocols_need_to_be_allowed_and_are_said(self, write: Any, draw: Any) -> None:
        before = draw("a", 0.6)
        after = [replace(record, protocol="protocol-b") for record in draw("a", 0.7)]
        folders = write("before", before), write("after", after)
        with pytest.raises(UsageError, match="protocol protocol-a") as raised:
            compare(*folders)
        assert "--allow-mixed" in raised.value.hint
        comparison = compare(*folders, allow_mixed=True)
        assert "protocol-b (3 records)" in comparison.mixed[0]
        assert [c.name for c in comparison.changes] == ["protocol"]

    def test_no_common_seed_is_one_clear_error(self, write: Any, draw: Any) -> None:
        records = [*draw("a", 0.6, runs=[(0, 0)]), *draw("b", 0.6, runs=[(1, 0)])]
        with pytest.raises(UsageError, match="no common seeds \\(A has 0/0; B has 1/0\\)"):
            compare("a", "b", folder=write("r", records))

    def test_a_row_without_common_seeds_is_left_out_of_the_others(
        self, write: Any, draw: Any
    ) -> None:
        before = [*draw("a", 0.6), *draw("b", 0.6, runs=[(0, 0)])]
        after = [*draw("a", 0.7), *draw("b", 0.6, runs=[(5, 0)])]
        comparison = compare(write("before", before), write("after", after))
        assert only_row(comparison).label == "a @ 10/class"
        assert "b @ 10/class: no common seeds" in comparison.left_out[0]

    def test_two_records_of_one_run_are_refused(self, write: Any, draw: Any) -> None:
        records = draw("a", 0.6)
        twice = replace(records[0], key="again", protocol="protocol-b")
        folder = write("r", [*records, twice, *draw("b", 0.5)])
        with pytest.raises(UsageError, match="are the same run of a @ 10/class, seeds 0/0"):
            compare("a", "b", folder=folder)

    def test_other_metrics_are_refused(self, write: Any, draw: Any) -> None:
        after = [replace(record, main="macro_f1") for record in draw("a", 0.7)]
        with pytest.raises(UsageError, match="the metric that ranks differs"):
            compare(write("before", draw("a", 0.6)), write("after", after), allow_mixed=True)


class TestSameness:
    def test_a_repeated_measurement_is_recognised(self, write: Any, draw: Any) -> None:
        comparison = compare(write("a", draw("dilm", 0.7)), write("b", draw("dilm", 0.7)))
        row = only_row(comparison)
        assert (row.same_outcomes, row.same_sets) == (3, 3)
        assert row.verdict == "no evidence of a difference"
        assert comparison.changes == ()

    def test_the_json_is_plain(self, write: Any, draw: Any) -> None:
        import json

        comparison = compare(write("a", draw("dilm", 0.7)), write("b", draw("dilm", 0.8)))
        document = json.loads(json.dumps(comparison.to_json(), allow_nan=False))
        assert document["rows"][0]["difference"]["interval"].keys() == {"low", "high"}
        assert document["tested"] == 1


def test_it_is_part_of_the_package() -> None:
    assert harness.compare is compare


def test_negative_items_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be negative"):
        compare("a", "b", folder=tmp_path, items=-1)
