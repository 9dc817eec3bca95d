"""Plans: cells and keys. A key covers what changes a result, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.api import BenchResult, plan
from harness.data.sources import DataLocator
from harness.errors import HarnessError, UsageError
from harness.hookspecs import hookimpl
from harness.plan import Plan
from harness.planning.building import build_plan
from harness.planning.forecast import expected_seconds
from harness.planning.request import Request
from harness.plugins import PluginHost, PluginSource
from harness.storage.store import Store
from harness.suite import Suite, load_suite
from toy_paths import TOY_SUITE

TOY = load_suite(TOY_SUITE)


def keys(plan: Plan, kind: str) -> set[str]:
    return {cell.stage_keys()[kind] for cell in plan.cells}  # type: ignore[index]


def test_every_distiller_meets_every_seed(planned: Callable[..., Plan]) -> None:
    plan = planned()
    assert len(plan.cells) == 9
    assert len({cell.key for cell in plan.cells}) == 9


def test_a_deterministic_distiller_is_run_once_for_all_seeds(planned: Callable[..., Plan]) -> None:
    plan = planned()
    assert plan.stage_counts(plan.cells) == {"distill": 1 + 1 + 3, "fit": 9, "evaluate": 9}


def test_one_distilled_set_serves_many_students_and_fit_seeds(
    planned: Callable[..., Plan],
) -> None:
    plan = planned(students=("words", "dying"), fit_seeds=(0, 1))
    assert keys(plan, "distill") == keys(planned(), "distill")
    assert len(keys(plan, "fit")) == 9 * 2 * 2


def test_the_whole_train_row_has_its_own_steps_and_ignores_budgets(
    planned: Callable[..., Plan],
) -> None:
    plan = planned(budgets=("2/class", "4/class"))
    whole = [cell for cell in plan.cells if cell.distiller.label == "everything"]
    assert {str(cell.budget) for cell in whole} == {"100%"}
    assert {cell.recipe.steps for cell in whole} == {7}
    assert {cell.recipe.steps for cell in plan.cells if cell not in whole} == {5}


def test_seeds_come_first_so_that_an_interrupted_run_is_balanced(
    planned: Callable[..., Plan],
) -> None:
    assert [cell.distill_seed for cell in planned().cells] == [0] * 3 + [1] * 3 + [2] * 3


@pytest.mark.parametrize(
    ("setting", "changed"),
    [
        ("recipe.steps=6", {"fit", "evaluate"}),
        ("recipe.batch_size=3", {"fit", "evaluate"}),
        ("recipe.learning_rate=1e-3", {"fit", "evaluate"}),
        ("student.smoothing=2", {"fit", "evaluate"}),
        ("distiller.first.skip=1", {"distill", "fit", "evaluate"}),
        ("task.rows=80", {"distill", "fit", "evaluate"}),
    ],
)
def test_a_key_covers_every_input_of_its_stage(
    planned: Callable[..., Plan], setting: str, changed: set[str]
) -> None:
    before, after = planned(distillers=("first",)), planned(setting, distillers=("first",))
    assert {kind for kind in ("distill", "fit", "evaluate")
            if keys(before, kind) != keys(after, kind)} == changed  # fmt: skip


def test_keys_do_not_depend_on_what_else_is_in_the_plan(planned: Callable[..., Plan]) -> None:
    small, large = planned(distill_seeds=(1,)), planned(budgets=("4/class", "2/class"))
    assert keys(small, "evaluate") <= keys(large, "evaluate")


def test_a_raised_component_version_changes_its_keys(
    planned: Callable[..., Plan], toy_host: PluginHost
) -> None:
    before = planned()
    students = toy_host.registry.of("student")
    students["words"] = replace(students["words"], version="2")
    after = planned()
    assert keys(before, "distill") == keys(after, "distill")
    assert not keys(before, "fit") & keys(after, "fit")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"tasks": ("toi",)}, "unknown task 'toi'"),
        ({"distillers": ("frist",)}, "unknown distiller 'frist'"),
        ({"students": ("word",)}, "unknown student 'word'"),
        ({"evaluators": ("accuracy",)}, "unknown evaluator 'accuracy'"),
        ({"budgets": ("40/class",)}, "more than the 30 train rows of class 0"),
        ({"students": ("words:large",)}, "takes nothing after the colon"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_runs(
    planned: Callable[..., Plan], changes: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(UsageError, match=complaint):
        planned(**changes)


@pytest.mark.parametrize("setting", ["student.smoothin=2", "student.words.x=1", "task.toy.y=1"])
def test_a_setting_that_no_component_has(planned: Callable[..., Plan], setting: str) -> None:
    with pytest.raises(UsageError, match="option"):
        planned(setting)


def test_an_option_of_the_wrong_type(planned: Callable[..., Plan]) -> None:
    with pytest.raises(UsageError, match=r"words\.smoothing = 'much'"):
        planned("student.smoothing=much")


def test_a_plugin_can_veto_a_plan(toy_host: PluginHost) -> None:
    class Frugal:
        @hookimpl
        def harness_plan(self, plan: Plan) -> None:
            raise HarnessError(f"{len(plan.cells)} cells are too many")

    toy_host.add(PluginSource("frugal", "", "", Frugal))
    with pytest.raises(HarnessError, match="9 cells are too many"):
        build_plan(TOY, toy_host, DataLocator.from_environment(None))


def test_a_forecast_needs_earlier_records(
    run_toy: Callable[..., BenchResult], tmp_path: Path
) -> None:
    result = run_toy(seeds=[0])
    again = run_toy(rerun="never")
    missing = again.plan.missing(Store(tmp_path / "results"))
    assert len(missing) == 6
    forecast = expected_seconds(missing, result.results.records)
    assert forecast is not None
    assert forecast > 0
    assert expected_seconds(missing, []) is None


def test_the_executed_keys_are_the_planned_ones(run_toy: Callable[..., BenchResult]) -> None:
    result = run_toy()
    assert {r.key for r in result.results} == {cell.key for cell in result.plan.cells}


def test_suites_are_values() -> None:
    assert isinstance(TOY, Suite)
    assert replace(TOY) == TOY


def test_methods_look_through_the_first_student_where_the_suite_names_no_proxy() -> None:
    planned, _ = plan(
        Request("quickstart", students=["bert:tiny"], distillers=["k-means"], budgets=["1%"])
    )
    proxies = {
        c.distiller.options["proxy"] for c in planned.cells if "proxy" in c.distiller.options
    }
    assert proxies == {"bert:tiny"}


def test_a_student_that_a_method_builds_on_is_part_of_its_key() -> None:
    def key(*settings: str) -> str:
        planned, _ = plan(
            Request(
                "quickstart",
                students=["bert:tiny"],
                distillers=["vanilla-lm"],
                budgets=["1%"],
                seeds=[0],
                settings=[*settings, "distiller.vanilla-lm.generator=pythia:70m"],
            )
        )
        return next(c.distill_key for c in planned.cells if c.distiller.label == "vanilla-lm")

    assert key() == key()
    assert key() == key("student.qwen.lora_rank=4")
    assert key() != key("student.pythia.lora_rank=4")


def test_a_method_that_builds_on_an_unknown_student_is_refused_in_the_plan() -> None:
    with pytest.raises(UsageError, match="unknown student 'gpt3'"):
        plan(
            Request(
                "quickstart",
                distillers=["vanilla-lm"],
                settings=["distiller.vanilla-lm.generator=gpt3"],
            )
        )
