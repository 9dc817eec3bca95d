"""Distillers that make models: planned, run, charged, checked and shown like the others."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.api import BenchResult
from harness.plan import Plan
from harness.plugins import PluginHost
from harness.registry.components import resolve
from harness.testing.text import toy_context
from harness.testing.toys import WordCounts, toy_task
from toy_paths import TOY_PLUGIN, TOY_SUITE

Bench = Callable[..., BenchResult]
Command = Callable[..., "subprocess.CompletedProcess[str]"]


def test_it_trains_on_the_whole_train_split_with_the_recipe_of_the_full_row(run_toy: Bench) -> None:
    results = run_toy(distillers=["taught"]).results
    taught, full = (results.filter(distiller=name).records for name in ("taught", "everything"))
    assert {record.budget for record in taught} == {"100%"}
    assert {record.distilled.produces for record in taught} == {"model"}
    assert [r.recipe for r in taught] == [r.recipe for r in full]
    assert [r.distilled.content for r in taught] == [r.distilled.content for r in full]
    assert [r.value for r in taught] == [r.value for r in full]
    assert {r.protocol for r in results} == {full[0].protocol}


def test_its_learning_rate_is_tuned_over_the_same_grid(run_toy: Bench) -> None:
    results = run_toy(distillers=["taught"]).results
    assert {r.tuning.grid for r in results} == {(1e-4, 3e-4)}
    assert {len(r.tuning.validation) for r in results} == {2}


def test_each_run_is_charged_once_for_what_all_of_them_share(run_toy: Bench) -> None:
    settings = ["distiller.taught.seconds=0.5"]
    records = run_toy(distillers=["taught"], settings=settings).results.filter(distiller="taught")
    seconds = [record.costs.fit.seconds for record in records]
    assert len(seconds) == 3
    assert all(0.5 <= spent < 1.0 for spent in seconds)


def test_the_suites_teacher_is_filled_in_and_enters_the_key(
    planned: Callable[..., Plan],
) -> None:
    def keys(**changes: Any) -> set[str]:
        cells = planned(distillers=("taught", "first"), **changes).cells
        return {cell.fit_key for cell in cells if cell.distiller.component.name == "taught"}

    def others(**changes: Any) -> set[str]:
        cells = planned(distillers=("taught", "first"), **changes).cells
        return {cell.fit_key for cell in cells if cell.distiller.component.name != "taught"}

    assert keys(teacher="words") & keys() == set()
    assert others(teacher="words") == others()
    cells = planned(distillers=("taught",), teacher="words").cells
    options = [
        cell.distiller.options for cell in cells if cell.distiller.label.startswith("taught")
    ]
    assert {option["teacher"] for option in options} == {"words"}


def test_what_it_returns_must_be_a_trained_student(run_toy: Bench) -> None:
    outcome = run_toy(distillers=["taught:badly"]).outcome
    failures = [f for f in outcome.failures if f.distiller.startswith("taught")]
    assert len(failures) == 3
    assert {(f.stage, f.error) for f in failures} == {("fit", "ContractError")}
    assert "info of what fit returned" in failures[0].message


def test_a_method_without_rows_takes_no_step_tunes_nothing_and_has_no_rank(run_toy: Bench) -> None:
    result = run_toy(distillers=["first", "nothing"])
    records = result.results.filter(distiller="nothing").records
    assert {record.budget for record in records} == {"0%"}
    assert {record.distilled.rows for record in records} == {0}
    assert {record.recipe["steps"] for record in records} == {0}
    assert {record.tuning.grid for record in records} == {(1e-4,)}
    rows = {row.distiller: row for row in result.board().tables[0].rows}
    assert rows["nothing"].is_reference
    assert rows["nothing"].rank is None
    assert rows["nothing"].score is not None
    assert rows["first"].rank is not None


def test_a_row_is_a_reference_where_its_component_says_so(toy_host: PluginHost) -> None:
    component = toy_host.registry.find("distiller", "nothing")
    assert resolve(component, "", {}).label == "nothing"
    assert getattr(component, "reference", False)


def test_nobody_else_may_ask_for_no_rows(planned: Callable[..., Plan]) -> None:
    with pytest.raises(Exception, match="budget '0%' must be positive"):
        planned(budgets=("0%",))


def test_distill_writes_the_model_and_a_card(command: Command, tmp_path: Path) -> None:
    asked = ["distill", str(TOY_SUITE), "--plugin", TOY_PLUGIN, "--device", "cpu", "--json"]
    done = command(*asked, "--distiller", "taught", "--student", "words", "--out", "small")
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert sorted(made) == ["folder", "key", "parameters", "seconds"]
    loaded = WordCounts().load(tmp_path / "small/model", toy_task(), toy_context(tmp_path))
    assert loaded.predict(toy_task().test).shape == (len(toy_task().test), 2)
    card = (tmp_path / "small/README.md").read_text()
    assert card.startswith(
        "---\nlibrary_name: distill-harness\n---\n\n# taught:well: words on toy\n"
    )
    assert "## Recipe" in card
    assert f"- stage key: {made['key']}" in card


def test_a_student_is_named_for_models_alone(command: Command) -> None:
    asked = ["distill", str(TOY_SUITE), "--plugin", TOY_PLUGIN, "--device", "cpu"]
    done = command(*asked, "--distiller", "first", "--student", "words", "--out", "set")
    assert done.returncode == 2
    assert "'first' makes data for any student" in done.stderr
