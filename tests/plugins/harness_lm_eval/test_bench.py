"""The evaluator in a whole run: what is refused when planning, and what a record keeps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.api import BenchResult, bench
from harness.data.sources import DataLocator
from harness.errors import ContractError, MissingDependencyError, UsageError
from harness.plan import Plan
from harness.planning.building import build_plan
from harness.plugins import PluginHost
from harness.suite import load_suite, with_settings
from harness.upkeep.verification import verify

WriteTask = Callable[..., Path]

PLUGIN = """
from harness import hookimpl
from harness.testing.toys import ToyTask
from harness.testing.instruction import ToyInstructionTask

@hookimpl
def harness_register_tasks(register):
    register("toy-questions", ToyInstructionTask, summary="", version="1")
    register("toy-classes", ToyTask, summary="", version="1")
"""
SUITE = """
version = 1
tasks = ["toy-questions"]
distillers = ["random"]
students = ["llama:tiny"]
evaluators = ["lm-eval"]
budgets = ["8rows"]
references = []

[seeds]
distill = [0]
fit = [0]

[recipe]
steps = 2
batch_size = 4
max_length = 48
learning_rate = [1e-3]
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    (tmp_path / "toy_questions.py").write_text(PLUGIN)
    path = tmp_path / "questions.toml"
    path.write_text(SUITE)
    return path


@pytest.fixture
def run(suite: Path, tmp_path: Path) -> Callable[..., BenchResult]:
    def run(**request: Any) -> BenchResult:
        return bench(
            suite,
            output=tmp_path / "results",
            plugins=[str(tmp_path / "toy_questions.py")],
            device="cpu",
            fail_fast=True,
            **request,
        )

    return run


@pytest.fixture
def planned(suite: Path, tmp_path: Path) -> Callable[..., Plan]:
    def plan(*settings: str) -> Plan:
        host = PluginHost.discover([str(tmp_path / "toy_questions.py")])
        chosen = with_settings(load_suite(suite), settings)
        return build_plan(chosen, host, DataLocator.from_environment(None))

    return plan


def test_one_student_is_scored_in_several_ways(
    run: Callable[..., BenchResult], write_task: WriteTask
) -> None:
    evaluators = ["multiple-choice", "lm-eval", f"lm-eval:{write_task()}"]
    result = run(evaluators=evaluators)
    records = {record.evaluator.label: record for record in result.results.records}
    assert set(records) == set(evaluators)
    own, other = records["lm-eval"], records[evaluators[2]]
    assert own.metrics == records["multiple-choice"].metrics
    assert own.item_scores.tolist() == records["multiple-choice"].item_scores.tolist()
    assert (own.scored, other.scored) == (None, 30)
    assert other.evaluator.fingerprint.startswith("lm-eval 0.")
    assert len({record.key for record in records.values()}) == 3
    host = PluginHost.discover([])
    checked = verify([result.output], host)
    assert not checked.errors
    assert checked.recomputed == 2


def test_a_limit_is_kept_in_the_record(run: Callable[..., BenchResult]) -> None:
    result = run(settings=["evaluator.lm-eval.limit=5"])
    (record,) = result.results.records
    assert record.scored == 5
    assert record.evaluator.options["limit"] == 5
    assert {packed.length for packed in record.items.values()} == {5}
    assert not verify([result.output], PluginHost.discover([])).errors


def test_rates_are_chosen_on_validation(run: Callable[..., BenchResult]) -> None:
    (record,) = run(settings=["recipe.learning_rate=1e-3,1e-2"]).results.records
    assert len(record.tuning.validation) == 2


class TestPlanning:
    def keys(self, plan: Plan) -> set[str]:
        return {cell.key for cell in plan.cells}

    def test_options_and_content_change_the_key_of_the_score_alone(
        self, planned: Callable[..., Plan], write_task: WriteTask
    ) -> None:
        def named(**changes: Any) -> Plan:
            return planned(f"evaluator.lm-eval.task={write_task(**changes)}")

        plans = [planned(), planned("evaluator.lm-eval.limit=4"), named(), named(test_rows=31)]
        assert len(set().union(*map(self.keys, plans))) == 4
        assert self.keys(named()) == self.keys(named())

    @pytest.mark.parametrize(
        ("settings", "pattern"),
        [
            (["evaluator.lm-eval.num_fewshot=16"], "of validation of 'toy-instructions' has"),
            (["evaluator.lm-eval.limit=1.0"], "limit = '1.0': should be a whole number"),
            (["evaluator.lm-eval.task=./nowhere.yaml"], "no YAML file or folder"),
            (["evaluator.lm-eval.batch_size=0"], "batch_size = '0': should be"),
        ],
    )
    def test_what_cannot_be_scored_is_refused(
        self, settings: list[str], pattern: str, planned: Callable[..., Plan]
    ) -> None:
        with pytest.raises(UsageError, match=pattern):
            planned(*settings)

    def test_a_metric_that_is_not_measured(self, planned: Callable[..., Plan]) -> None:
        with pytest.raises(ContractError, match="one of acc, acc_norm, acc_bytes"):
            planned("evaluator.lm-eval.metric=f1")

    def test_data_that_is_not_here(
        self, planned: Callable[..., Plan], write_task: WriteTask
    ) -> None:
        path = write_task(dataset_path="nobody-here/no-such-data")
        with pytest.raises(MissingDependencyError, match="cannot read its data"):
            planned(f"evaluator.lm-eval.task={path}")

    def test_rates_that_would_be_chosen_on_what_is_reported(
        self, planned: Callable[..., Plan], write_task: WriteTask
    ) -> None:
        task = f"evaluator.lm-eval.task={write_task()}"
        planned(task)
        with pytest.raises(UsageError, match="no validation split besides"):
            planned(task, "recipe.learning_rate=1e-3,1e-4")

    def test_a_task_for_another_kind_of_student(
        self, suite: Path, planned: Callable[..., Plan]
    ) -> None:
        suite.write_text(SUITE.replace("toy-questions", "toy-classes"))
        with pytest.raises(UsageError, match="is for tasks of instruction, and 'toy' is one"):
            planned()
