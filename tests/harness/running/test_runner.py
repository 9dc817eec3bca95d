"""Running: resumed equals undisturbed, failures stay apart, randomness is owned."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset

from harness.api import BenchResult, exit_code
from harness.data.sources import DataLocator
from harness.errors import ContractError, StoreError
from harness.hookspecs import hookimpl
from harness.plan import StageEvent
from harness.planning.building import build_plan
from harness.plugins import PluginSource
from harness.randomness import derive_seed, seeded
from harness.records.curves import POINTS
from harness.records.results import Results
from harness.running.backlog import RunOptions
from harness.running.recording import SAMPLE_CHARACTERS, SAMPLES, samples_of
from harness.running.runner import Runner
from harness.storage.arrays import StoredArrays
from harness.storage.store import Store
from harness.suite import load_suite
from harness.testing.toys import TrainedWordCounts
from harness.types import DistilledData
from toy_paths import TOY_PLUGIN, TOY_SUITE

Bench = Callable[..., BenchResult]


def outcomes(results: Results) -> dict[str, Any]:
    """What a run found, without when, where and how fast."""
    return {r.key: (r.metrics, r.items, r.distilled, r.tuning, r.recipe, r.curves) for r in results}


def test_a_bench_leaves_one_record_a_cell(run_toy: Bench) -> None:
    result = run_toy()
    assert (result.outcome.computed, result.outcome.failures) == (9, [])
    assert len(result.results) == 9
    record = result.results.filter(distiller="first").records[0]
    assert record.distilled.rows == 8
    assert record.distilled.used_splits == ("train",)
    assert record.costs.distill.seconds > 0
    assert record.costs.distill.peak_bytes > 1e6
    assert record.item_scores.mean() == pytest.approx(record.value)


def test_a_record_shows_how_distilling_and_fitting_went_and_what_the_rows_are_like(
    run_toy: Bench,
) -> None:
    record = run_toy().results.filter(distiller="seeded").records[0]
    assert sorted(record.curves) == ["distill: draws", "fit: words"]
    assert len(record.curves["distill: draws"].values) == POINTS
    assert len(record.distilled.samples) == SAMPLES
    assert all(sorted(row) == ["label", "text"] for row in record.distilled.samples)


def test_the_curves_of_the_chosen_learning_rate_are_kept(
    run_toy: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.testing.toys import WordCounts

    fit = WordCounts.fit

    def fit_and_note(self: Any, task: Any, data: Any, recipe: Any, context: Any) -> Any:
        trained = fit(self, task, data, recipe, context)
        context.keep_curve("rate", [recipe.learning_rate])
        return trained

    monkeypatch.setattr(WordCounts, "fit", fit_and_note)
    result = run_toy(settings=["recipe.learning_rate=0.5,0.25"])
    for record in result.results:
        assert record.curves["fit: rate"].values == (record.tuning.chosen,)


def test_long_values_are_cut_in_a_records_samples() -> None:
    rows = Dataset.from_dict({"text": ["x" * 1000] * 9, "label": list(range(9))})
    samples = samples_of(DistilledData(rows=rows))
    assert [row["label"] for row in samples] == ["0", "1", "3", "4", "6", "7"]
    assert {len(row["text"]) for row in samples} == {SAMPLE_CHARACTERS}
    assert samples_of(DistilledData(rows=rows.select([]))) == ()


def test_the_same_command_again_computes_nothing(run_toy: Bench) -> None:
    first = run_toy()
    again = run_toy()
    assert (again.outcome.computed, again.outcome.reused) == (0, 9)
    assert [r.to_json() for r in again.results] == [r.to_json() for r in first.results]


def test_two_runs_of_one_plan_find_the_same(run_toy: Bench, tmp_path: Path) -> None:
    assert outcomes(run_toy(output=tmp_path / "a").results) == outcomes(
        run_toy(output=tmp_path / "b").results
    )


def test_every_method_gets_the_same_recipe_grid_and_seeds(run_toy: Bench) -> None:
    results = run_toy()
    small = [r for r in results.results if r.budget != "100%"]
    assert len({r.protocol for r in results.results}) == 1
    assert len({r.tuning.grid for r in results.results}) == 1
    shared = [{k: v for k, v in r.recipe.items() if k != "learning_rate"} for r in small]
    assert all(recipe == shared[0] for recipe in shared)
    seeds = {
        label: sorted((r.distill_seed, r.fit_seed) for r in small if r.distiller.label == label)
        for label in ("first", "seeded")
    }
    assert seeds["first"] == seeds["seeded"]


def test_a_method_that_returns_the_random_subset_scores_exactly_as_random(run_toy: Bench) -> None:
    """Stage seeds do not depend on a method's name: equal choices give equal models."""
    results = run_toy(distillers=["twin"]).results

    def scores(name: str) -> dict[int, float]:
        return {r.distill_seed: r.value for r in results.filter(distiller=name)}

    assert len(scores("seeded")) == 3
    assert scores("seeded") == scores("twin")


def test_the_rate_is_chosen_on_validation_and_the_first_of_equals_wins(run_toy: Bench) -> None:
    record = run_toy(seeds=[0]).results.records[0]
    assert record.tuning.grid == (1e-4, 3e-4)
    assert len(record.tuning.validation) == 2
    assert record.tuning.validation[0] == record.tuning.validation[1]
    assert record.tuning.chosen == record.recipe["learning_rate"] == 1e-4


def test_test_is_opened_once_by_the_evaluator(
    run_toy: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    predict = TrainedWordCounts.predict

    def counting(self: Any, rows: Any, context: Any = None) -> Any:
        seen.append(hash(tuple(rows["text"])))
        return predict(self, rows, context)

    monkeypatch.setattr(TrainedWordCounts, "predict", counting)
    result = run_toy(seeds=[0], distillers=["first"])
    test = hash(tuple(result.plan.cells[0].task.data.test["text"]))
    assert seen.count(test) == len(result.plan.cells)
    assert len(seen) == 3 * len(result.plan.cells)


BREACHES = {
    "raises": ("ValueError", "in the middle of it"),
    "over_budget": ("ContractError", "rows should be 1 to 8 (budget 4/class), got 60"),
    "wrong_columns": ("ContractError", "columns of rows"),
    "labels_out_of_range": ("ContractError", "integers in [0, 2)"),
    "nan_weights": ("ContractError", "weights should be finite"),
    "opens_test": ("ContractError", "test is opened once"),
    "names_test": ("ContractError", "used_splits"),
}


@pytest.mark.parametrize("how", BREACHES)
def test_a_misbehaving_distiller_fails_alone(run_toy: Bench, how: str) -> None:
    result = run_toy(distillers=["first", f"misbehaving:{how}"], seeds=[0, 1])
    error, message = BREACHES[how]
    assert {f.distiller for f in result.results.failures} == {f"misbehaving:{how}"}
    assert len(result.results) == 6
    for failure in result.results.failures:
        assert (failure.stage, failure.error) == ("distill", error)
        assert message in failure.message
    assert exit_code(result.outcome) == 1


def test_an_evaluator_that_gives_nan_fails_the_cell(run_toy: Bench) -> None:
    result = run_toy(evaluators=["toy-accuracy", "nan"], seeds=[0])
    assert len(result.results) == 3
    assert {f.evaluator for f in result.results.failures} == {"nan"}
    assert all("finite fraction" in f.message for f in result.results.failures)


def test_fail_fast_stops_at_the_first(run_toy: Bench) -> None:
    with pytest.raises(ContractError):
        run_toy(distillers=["misbehaving:over_budget"], fail_fast=True)


def test_a_failed_cell_is_tried_again_and_its_report_goes(run_toy: Bench, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    request = {
        "distillers": ["misbehaving:raises"],
        "settings": [f"distiller.misbehaving.flag={flag}"],
        "seeds": [0],
    }
    assert len(run_toy(**request).results.failures) == 1
    assert run_toy(**request, rerun="never").outcome.skipped == 1
    mended = run_toy(**request, rerun="failed")
    assert (mended.outcome.computed, mended.results.failures) == (1, ())
    assert not list((tmp_path / "results" / "failures").iterdir())


def test_rerun_always_computes_every_cell_and_finds_the_same(run_toy: Bench) -> None:
    first, again = run_toy(), run_toy(rerun="always")
    assert again.outcome.computed == 9
    assert outcomes(first.results) == outcomes(again.results)


def test_a_shared_distilled_set_is_computed_once(run_toy: Bench, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    settings = [f"distiller.seeded.calls={calls}", "seeds.fit=0,1,2"]
    run_toy(settings=settings)
    assert len(calls.read_text().split()) == 3


def test_one_trained_student_serves_many_evaluators_and_leaves_no_weights(
    run_toy: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.testing.toys import WordCounts

    fits: list[float] = []
    fit = WordCounts.fit
    monkeypatch.setattr(WordCounts, "fit", lambda *a: (fits.append(1), fit(*a))[1])
    result = run_toy(seeds=[0], evaluators=["toy-accuracy", "nan"])
    assert len(fits) == 3 * 2
    for record in result.results:
        assert (tmp_path / "results/artifacts/fits" / record.fit_key).exists()
    run_toy(seeds=[1])
    kept = {p.name for p in (tmp_path / "results/artifacts/fits").iterdir()}
    assert kept == {r.fit_key for r in result.results}


KILLED = """
import sys
from harness.api import bench
bench(sys.argv[1], output=sys.argv[2], plugins=[sys.argv[3]], device="cpu",
      distillers=sys.argv[4].split(","), students=[sys.argv[5]], settings=sys.argv[6:])
"""


@pytest.mark.parametrize(
    ("stage", "distillers", "student"),
    [
        ("distill", "first,misbehaving:dies", "words"),
        ("fit", "first", "dying:fit"),
        ("evaluate", "first", "dying:predict"),
    ],
)
def test_kill_9_in_any_stage_then_the_same_command_equals_undisturbed(
    tmp_path: Path, run_toy: Bench, stage: str, distillers: str, student: str
) -> None:
    flag, calm = tmp_path / "flag", tmp_path / "calm"
    calm.touch()

    def settings(which: Path) -> list[str]:
        chosen = [f"student.dying.flag={which}"] if "dying" in student else []
        return chosen + ([f"distiller.misbehaving.flag={which}"] if stage == "distill" else [])

    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(TOY_SUITE), str(tmp_path / "results"), TOY_PLUGIN,
         distillers, student, *settings(flag)],
        capture_output=True, check=False,
    )  # fmt: skip
    assert killed.returncode == -9
    request = {"distillers": distillers.split(","), "students": [student]}
    resumed = run_toy(**request, settings=settings(flag))
    undisturbed = run_toy(**request, settings=settings(calm), output=tmp_path / "calm-results")
    assert resumed.outcome.failures == []

    def without_keys(results: Results) -> list[Any]:
        return sorted(str((r.metrics, r.items, r.distilled, r.tuning, r.curves)) for r in results)

    assert without_keys(resumed.results) == without_keys(undisturbed.results)


def test_ctrl_c_keeps_what_was_done(run_toy: Bench) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_toy(distillers=["first", "misbehaving:interrupts"])
    after = run_toy(distillers=["first"])
    assert after.outcome.reused >= 3


def test_two_processes_share_one_folder(run_toy: Bench, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    shared = run_toy(
        executor="processes", jobs=2, settings=[f"distiller.seeded.calls={calls}"], threads=1
    )
    assert shared.outcome.failures == []
    assert shared.outcome.computed == 9
    assert sorted(calls.read_text().split()) == sorted(
        str(derive_seed("distill", seed)) for seed in (0, 1, 2)
    )
    alone = run_toy(output=tmp_path / "alone", settings=[f"distiller.seeded.calls={calls}"])
    assert outcomes(shared.results) == outcomes(alone.results)


def test_a_worker_that_dies_costs_the_stage_it_was_in(run_toy: Bench, tmp_path: Path) -> None:
    request = {
        "distillers": ["first", "misbehaving:dies"],
        "settings": [f"distiller.misbehaving.flag={tmp_path / 'flag'}"],
    }
    hurt = run_toy(**request, executor="processes", jobs=1)
    assert exit_code(hurt.outcome) == 1
    assert {f.error for f in hurt.outcome.failures} == {"WorkerDied"}
    assert run_toy(**request).outcome.failures == []


def test_fail_fast_stops_the_workers_too(run_toy: Bench) -> None:
    result = run_toy(
        distillers=["misbehaving:over_budget"], executor="processes", jobs=2, fail_fast=True
    )
    assert "ContractError" in {failure.error for failure in result.outcome.failures}
    assert exit_code(result.outcome) == 1


def test_an_unwritable_results_folder_is_one_clear_error(run_toy: Bench, tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file")
    with pytest.raises(StoreError, match="cannot be written"):
        run_toy()


def draw() -> tuple[float, float, float]:
    return random.random(), float(np.random.random()), torch.rand(1).item()


def test_global_generators_are_put_back() -> None:
    with seeded(1):
        undisturbed = (draw(), draw())
    with seeded(1):
        first = draw()
        with seeded(5):
            inside = draw()
        assert (first, draw()) == undisturbed
    with seeded(5):
        assert draw() == inside


def test_seeds_depend_on_every_part() -> None:
    parts = [("a", 1), ("a", 2), ("b", 1), ("a", "1"), ("a1",), ("a",)]
    assert len({derive_seed(*p) for p in parts}) == len(parts)
    assert derive_seed("distill", 0) == derive_seed("distill", 0)


def test_observers_hear_of_stages_and_records(toy_host: Any, tmp_path: Path) -> None:
    events: list[tuple[str, bool]] = []
    records: list[str] = []

    class Tracker:
        @hookimpl
        def harness_stage_started(self, event: StageEvent) -> None:
            events.append((event.kind, False))

        @hookimpl
        def harness_stage_finished(self, event: StageEvent) -> None:
            assert event.cost is not None
            events.append((event.kind, True))

        @hookimpl
        def harness_run_finished(self, record: Any) -> None:
            records.append(record.key)

    toy_host.add(PluginSource("tracker", "", "", Tracker))
    suite = replace(load_suite(TOY_SUITE), references=(), distill_seeds=(0,))
    plan = build_plan(suite, toy_host, DataLocator.from_environment(None))
    Runner(plan, Store(tmp_path / "r"), RunOptions()).run()
    assert [kind for kind, ended in events if ended] == ["distill", "fit", "evaluate"]
    assert records == [cell.key for cell in plan.cells]


def test_a_runner_does_other_cells_while_another_computes_what_one_needs(
    toy_host: Any, tmp_path: Path
) -> None:
    ended: list[str] = []
    elsewhere = Event()

    class Tracker:
        @hookimpl
        def harness_stage_finished(self, event: StageEvent) -> None:
            if event.error:
                ended.append(event.error)

        @hookimpl
        def harness_run_finished(self, record: Any) -> None:
            ended.append(record.distiller.label)
            elsewhere.set()

    toy_host.add(PluginSource("tracker", "", "", Tracker))
    suite = replace(load_suite(TOY_SUITE), distillers=("taught", "first"), references=(),
                    distill_seeds=(0,))  # fmt: skip
    plan = build_plan(suite, toy_host, DataLocator.from_environment(None))
    store = Store(tmp_path / "r")
    store.prepare()
    runner = Thread(target=Runner(plan, store, RunOptions()).run)

    def lesson() -> dict[str, np.ndarray]:
        runner.start()
        assert elsewhere.wait(60)
        return {"lesson": np.ones(1)}

    StoredArrays(store).arrays("lesson", {"seconds": 0.0}, lesson)
    runner.join()
    put_off = "put off: another process computes what it needs"
    assert ended == [put_off, "first", "taught:well"]
    assert [store.has_failure(cell.key) for cell in plan.cells] == [False, False]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
