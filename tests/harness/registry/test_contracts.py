"""Border checks: each breach is named with plugin, field, expected and got."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from datasets import Dataset

from harness.budget import Budget
from harness.errors import ContractError, UsageError
from harness.registry.components import Component, DistillerComponent
from harness.registry.contracts import check_capabilities, check_distilled, check_score, check_task
from harness.testing.instruction import toy_instruction_task
from harness.testing.toys import toy_task
from harness.types import DistilledData, Score, TaskData

TASK = toy_task()
INSTRUCTIONS = toy_instruction_task()
BUDGET = Budget.parse("10rows")
COMPONENT = Component("task", "thing", object, "", "some-plugin", "", "1")
SELECTS = DistillerComponent(
    "distiller", "thing", object, "", "some-plugin", "", "1", produces="selection"
)
WRITES = replace(SELECTS, produces="synthesis")


def selection(**changes: Any) -> DistilledData:
    return replace(DistilledData.select(TASK, range(10)), **changes)


def rows(**columns: Any) -> Dataset:
    return Dataset.from_dict({"text": ["a"] * 3, "label": [0, 1, 0], **columns})


def test_a_good_set_passes() -> None:
    soft = np.full((10, 2), 0.5)
    check_distilled(SELECTS, selection(soft_labels=soft, weights=np.ones(10)), TASK, BUDGET)
    check_distilled(WRITES, DistilledData(rows()), TASK, BUDGET)


@pytest.mark.parametrize(
    ("component", "data", "field"),
    [
        (SELECTS, "not a set", "what distill returned"),
        (SELECTS, DistilledData.select(TASK, range(11)), "rows"),
        (WRITES, DistilledData(rows().select([])), "rows"),
        (WRITES, DistilledData(rows().rename_column("text", "body")), "columns of rows"),
        (WRITES, DistilledData(rows(label=[0, 1, 2])), "labels of rows"),
        (WRITES, DistilledData(rows(label=[-1, 1, 0])), "labels of rows"),
        (WRITES, DistilledData(rows(label=[0.5, 1.0, 0.0])), "labels of rows"),
        (WRITES, DistilledData(rows(text=["a", " \n", "b"])), "column 'text' of rows"),
        (WRITES, DistilledData(rows(), used_splits=("train", "test")), "used_splits"),
        (WRITES, DistilledData(rows(), report={"loss": float("nan")}), "report['loss']"),
        (WRITES, DistilledData(rows(), report={"loss": [1]}), "report['loss']"),  # type: ignore[dict-item]
        (SELECTS, selection(indices=None), "indices"),
        (SELECTS, selection(indices=np.zeros(10, dtype=int)), "indices"),
        (SELECTS, selection(indices=np.arange(10) + 55), "indices"),
        (SELECTS, selection(indices=np.arange(10)[::-1]), "rows"),
        (SELECTS, selection(soft_labels=np.full((10, 3), 1 / 3)), "soft_labels"),
        (SELECTS, selection(soft_labels=np.full((10, 2), 0.7)), "soft_labels"),
        (SELECTS, selection(weights=np.full(10, np.inf)), "weights"),
        (SELECTS, selection(weights=-np.ones(10)), "weights"),
        (SELECTS, selection(weights=np.zeros(10)), "weights"),
    ],
)
def test_each_breach_of_a_distilled_set_is_named(
    component: DistillerComponent, data: Any, field: str
) -> None:
    with pytest.raises(ContractError) as caught:
        check_distilled(component, data, TASK, BUDGET)
    assert caught.value.field == field
    assert "thing" in caught.value.plugin
    assert "some-plugin" in caught.value.plugin


def with_split(split: str, change: Callable[[Dataset], Dataset]) -> TaskData:
    return replace(TASK, splits={**TASK.splits, split: change(TASK.splits[split])})  # type: ignore[index]


@pytest.mark.parametrize(
    ("task", "field"),
    [
        (replace(TASK, splits={"train": TASK.train}), "splits"),
        (with_split("test", lambda rows: rows.select([])), "test"),
        (with_split("test", lambda rows: rows.rename_column("text", "body")), "columns of test"),
        (replace(TASK, label_names=("a", "b", "c")), "train"),
        (replace(TASK, label_names=("a",)), "labels of train"),
    ],
)
def test_each_breach_of_a_task_is_named(task: TaskData, field: str) -> None:
    with pytest.raises(ContractError) as caught:
        check_task(COMPONENT, task)
    assert caught.value.field == field


def target(**columns: list[Any]) -> TaskData:
    """The instruction task with some values of its test split replaced."""
    rows = {**INSTRUCTIONS.test[:], **columns}
    return replace(INSTRUCTIONS, splits={**INSTRUCTIONS.splits, "test": Dataset.from_dict(rows)})


def without_column(task: TaskData, split: str, column: str) -> TaskData:
    rows = task.splits[split].remove_columns(column)  # type: ignore[index]
    return replace(task, splits={**task.splits, split: rows})  # type: ignore[dict-item]


TARGET_ROWS = len(INSTRUCTIONS.test)


@pytest.mark.parametrize(
    ("task", "field"),
    [
        (without_column(INSTRUCTIONS, "train", "completion"), "columns of train"),
        (without_column(INSTRUCTIONS, "test", "subtask"), "columns of test"),
        (replace(INSTRUCTIONS, scoring_columns=()), "columns of validation"),
        (replace(INSTRUCTIONS, modality="text-classification"), "label_names"),
        (target(completion=[" "] * TARGET_ROWS), "column 'completion' of test"),
        (target(answer=[4] * TARGET_ROWS), "answer of test"),
        (target(answer=[-1] * TARGET_ROWS), "answer of test"),
        (target(choices=[["one"]] * TARGET_ROWS), "choices of test"),
        (target(choices=[["one", " "]] * TARGET_ROWS), "choices of test"),
    ],
)
def test_each_breach_of_an_instruction_task_is_named(task: TaskData, field: str) -> None:
    check_task(COMPONENT, INSTRUCTIONS)
    with pytest.raises(ContractError) as caught:
        check_task(COMPONENT, task)
    assert caught.value.field == field


def test_a_set_for_an_instruction_task_has_prompts_and_completions_alone() -> None:
    selected = DistilledData.select(INSTRUCTIONS, [3, 5])
    assert selected.rows.column_names == ["prompt", "completion"]
    check_distilled(SELECTS, selected, INSTRUCTIONS, BUDGET)
    written = DistilledData(Dataset.from_dict({"prompt": ["Say a: "], "completion": ["a"]}))
    check_distilled(WRITES, written, INSTRUCTIONS, BUDGET)
    with_answers = DistilledData(INSTRUCTIONS.validation)
    with pytest.raises(ContractError, match="columns of rows"):
        check_distilled(WRITES, with_answers, INSTRUCTIONS, Budget.parse("16rows"))
    soft = replace(selected, soft_labels=np.ones((2, 1)))
    with pytest.raises(ContractError, match="there are no classes"):
        check_distilled(SELECTS, soft, INSTRUCTIONS, BUDGET)


def test_rows_of_each_class_are_no_budget_where_there_are_no_classes() -> None:
    assert INSTRUCTIONS.class_counts() == []
    assert INSTRUCTIONS.budget_rows(Budget.parse("25%")) == len(INSTRUCTIONS.train) // 4
    assert TASK.budget_rows(Budget.parse("3/class")) == 6
    with pytest.raises(UsageError, match=r"there are no classes\nwrite 200rows or 1%"):
        INSTRUCTIONS.budget_rows(Budget.parse("3/class"))
    with pytest.raises(UsageError, match="more than the 48 rows"):
        INSTRUCTIONS.budget_rows(Budget.parse("49rows"))


def score(**changes: Any) -> Score:
    n = len(TASK.test)
    return replace(Score({"accuracy": 0.5}, "accuracy", {"score": np.ones(n)}), **changes)


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        (score(main="f1"), "main"),
        (score(metrics={"accuracy": float("nan")}), "metrics['accuracy']"),
        (score(metrics={"accuracy": 70.5}), "metrics['accuracy']"),
        (score(items={}), "items"),
        (score(items={"score": np.ones(3)}), "items['score']"),
        (score(items={"score": np.full(30, np.nan)}), "items['score']"),
        (score(items={"score": np.full(30, 2.0)}), "items['score']"),
        (score(items={"score": np.ones(30)}, scored=3), "items['score']"),
        (score(items={"score": np.ones(0)}, scored=0), "scored"),
    ],
)
def test_each_breach_of_a_score_is_named(bad: Score, field: str) -> None:
    check_score(COMPONENT, score(), TASK, "test")
    with pytest.raises(ContractError) as caught:
        check_score(COMPONENT, bad, TASK, "test")
    assert caught.value.field == field


def test_a_score_may_be_of_other_items_than_the_split() -> None:
    check_score(COMPONENT, score(items={"score": np.ones(3)}, scored=3), TASK, "test")


def test_a_student_without_the_needed_capability() -> None:
    with pytest.raises(ContractError, match="an object that can loglikelihood"):
        check_capabilities(COMPONENT, ("loglikelihood",), object())


def test_a_sealed_task_refuses_its_test_split() -> None:
    sealed = TASK.sealed()
    assert sealed.train is TASK.train
    with pytest.raises(ContractError, match="test is opened once"):
        _ = sealed.test
