"""All relevance baselines as distillers: flags, contract, budgets, targets, and what they find."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.budget import Budget
from harness.context import StageContext
from harness.errors import UsageError
from harness.kit.selection.row_pool import considered_rows
from harness.plugins import PluginHost
from harness.registry.components import DistillerComponent
from harness.registry.contracts import check_distilled
from harness.testing.instruction import toy_instruction_task
from harness.testing.text import check_distiller
from harness.testing.toys import toy_task
from harness.types import DistilledData, TaskData
from resolved import resolved

MakeContext = Callable[[int], StageContext]
ON_WORDS = ["bm25", "dsir", "length"]
ON_A_PROXY = ["rds", "rds-plus", "perplexity"]
NAMES = [*ON_WORDS, *ON_A_PROXY]
OF_A_TARGET = ["bm25", "dsir", "rds", "rds-plus"]


@functools.cache
def registered() -> dict[str, DistillerComponent]:
    found = PluginHost.discover().registry.of("distiller")
    return {name: c for name, c in found.items() if c.plugin == "relevance"}  # type: ignore[misc]


def make(name: str, **options: Any) -> Any:
    proxy = {"proxy": "llama"} if name in ON_A_PROXY else {}
    return registered()[name].load()(**proxy, **options)


def chosen(data: DistilledData) -> list[int]:
    assert data.indices is not None
    return data.indices.tolist()


def test_all_are_registered_with_honest_flags() -> None:
    components = registered()
    assert set(components) == set(NAMES)
    assert {n for n, c in components.items() if not c.deterministic} == {"dsir"}
    assert {c.produces for c in components.values()} == {"selection"}
    assert {c.version for c in components.values()} == {"1"}


@pytest.mark.parametrize("name", NAMES)
def test_each_names_its_source(name: str) -> None:
    documentation = registered()[name].load().__doc__
    assert documentation is not None
    assert "et al." in documentation or "Robertson and Zaragoza 2009" in documentation


@pytest.mark.parametrize("name", NAMES)
def test_the_contract_is_kept_on_instructions(
    name: str, tmp_path: Path, make_context: MakeContext
) -> None:
    check_distiller(
        make(name),
        tmp_path,
        produces="selection",
        deterministic=registered()[name].deterministic,
        task=toy_instruction_task(rows=24),
        budgets=("1rows", "5rows", "25%", "100%"),
        make_context=lambda folder, seed: make_context(seed),
    )


@pytest.mark.parametrize("name", ON_WORDS)
def test_the_contract_is_kept_on_classes(name: str, tmp_path: Path) -> None:
    check_distiller(
        make(name),
        tmp_path,
        produces="selection",
        deterministic=registered()[name].deterministic,
    )


@pytest.mark.parametrize("options", [{"aggregate": "max"}, {"aggregate": "turns"}])
def test_bm25_keeps_it_however_it_aggregates(options: dict[str, str], tmp_path: Path) -> None:
    tasks = {"3/class": toy_task(classes=3), "9rows": toy_instruction_task()}
    for budget, task in tasks.items():
        check_distiller(
            make("bm25", **options), tmp_path, produces="selection", deterministic=True,
            task=task, budgets=(budget,),
        )  # fmt: skip


@pytest.mark.parametrize("name", ON_WORDS)
def test_classes_share_the_budget_evenly(name: str, context: StageContext) -> None:
    data = make(name).distill(toy_task(classes=3).sealed(), Budget.parse("4/class"), context)
    assert np.bincount(data.rows["label"]).tolist() == [4, 4, 4]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(
    name=st.sampled_from(NAMES),
    budget=st.integers(1, 24).map("{}rows".format) | st.floats(0.1, 100).map("{:.3f}%".format),
)
def test_a_budget_is_filled_exactly(name: str, budget: str, context: StageContext) -> None:
    task = toy_instruction_task(rows=24).sealed()
    wanted = Budget.parse(budget)
    data = make(name).distill(task, wanted, context)
    check_distilled(registered()[name], data, task, wanted)
    assert len(data.rows) == task.budget_rows(wanted)


@pytest.mark.parametrize("name", NAMES)
def test_the_splits_looked_at_are_named(name: str, context: StageContext) -> None:
    data = make(name).distill(toy_instruction_task().sealed(), Budget.parse("3rows"), context)
    looks = ("train", "validation") if name in OF_A_TARGET else ("train",)
    assert data.used_splits == looks


def planted_task() -> tuple[TaskData, set[int]]:
    """A pool of 120 rows and the positions of its 24 questions; all the target's are questions."""
    task = toy_instruction_task(rows=192).sealed()
    kept = np.array([n for n in range(192) if n % 2 or n < 48])
    pool = task.train.select(kept)
    planted = set(np.flatnonzero(kept % 2 == 0).tolist())
    return replace(task, splits={**task.splits, "train": pool}), planted


@pytest.mark.parametrize("name", OF_A_TARGET)
def test_planted_rows_are_found(name: str, context: StageContext) -> None:
    task, planted = planted_task()
    data = make(name).distill(task, Budget.parse(f"{len(planted)}rows"), context)
    found = len(planted & set(chosen(data))) / len(planted)
    chance = len(planted) / len(task.train)
    assert chance == 0.2
    assert found > 0.75


@pytest.mark.parametrize("aggregate", ["max", "turns"])
def test_rows_of_a_small_subtask_have_a_say(aggregate: str, context: StageContext) -> None:
    """One question about blood among a dozen about coal, snow and grass."""
    task, budget = toy_instruction_task(rows=96).sealed(), Budget.parse("12rows")
    names = task.validation["subtask"][:]
    kept = [names.index("warm"), *(n for n, s in enumerate(names) if s == "cold")]
    target = task.validation.select(kept)
    bm25 = make("bm25", aggregate=aggregate, queries="subtasks")
    found = []
    for rows in (target, target.remove_columns("subtask")):
        with_target = replace(task, splits={**task.splits, "validation": rows})
        prompts = bm25.distill(with_target, budget, context).rows["prompt"]
        found.append(sum("blood" in prompt for prompt in prompts))
    assert found[0] >= 6 > 2 * found[1]


@pytest.mark.parametrize("name", OF_A_TARGET)
def test_an_empty_target_is_an_error(name: str, context: StageContext) -> None:
    task = toy_instruction_task().sealed()
    empty = replace(task, splits={**task.splits, "validation": task.validation.select([])})
    absent = replace(task, splits={"train": task.train})
    for broken in (empty, absent):
        with pytest.raises(UsageError, match="'toy-instructions' has no validation rows"):
            make(name).distill(broken, Budget.parse("3rows"), context)


@pytest.mark.parametrize("name", ON_A_PROXY)
def test_a_proxy_reads_instructions_only(name: str, context: StageContext) -> None:
    with pytest.raises(UsageError, match=f"{name} is for instruction tasks, and 'toy' is of text"):
        make(name).distill(toy_task().sealed(), Budget.parse("2/class"), context)


@pytest.mark.parametrize("name", ON_A_PROXY)
def test_without_a_language_model_the_error_says_so(name: str, context: StageContext) -> None:
    task, budget = toy_instruction_task().sealed(), Budget.parse("2rows")
    with pytest.raises(UsageError, match="no proxy to look at the rows with"):
        registered()[name].load()().distill(task, budget, context)
    with pytest.raises(UsageError, match="builds no causal language model"):
        registered()[name].load()(proxy="none").distill(task, budget, context)


@pytest.mark.parametrize("name", NAMES)
def test_a_budget_by_class_is_refused_where_there_are_none(
    name: str, context: StageContext
) -> None:
    with pytest.raises(UsageError, match="there are no classes"):
        make(name).distill(toy_instruction_task().sealed(), Budget.parse("2/class"), context)


@pytest.mark.parametrize("name", ON_A_PROXY)
class TestPool:
    def test_only_rows_in_it_are_chosen(self, name: str, context: StageContext) -> None:
        task, budget = toy_instruction_task(rows=24).sealed(), Budget.parse("6rows")
        data = make(name, pool=8).distill(task, budget, context)
        assert set(chosen(data)) <= set(considered_rows(task, budget, 8).tolist())
        assert data.report["rows_considered"] == 8

    def test_a_budget_as_large_as_it_takes_all_of_it(
        self, name: str, context: StageContext
    ) -> None:
        task, budget = toy_instruction_task(rows=24).sealed(), Budget.parse("8rows")
        data = make(name, pool=8).distill(task, budget, context)
        assert sorted(chosen(data)) == considered_rows(task, budget, 8).tolist()

    def test_one_below_the_budget_is_refused(self, name: str, context: StageContext) -> None:
        task = toy_instruction_task(rows=24).sealed()
        with pytest.raises(UsageError, match="pool of 5 rows is less than the budget of 6 rows"):
            make(name, pool=5).distill(task, Budget.parse("6rows"), context)
        with pytest.raises(UsageError, match="pool = -1: should be a whole number, at least 0"):
            resolved(type(make(name)), pool=-1)


@pytest.mark.parametrize(("name", "options"), [("rds", {}), ("perplexity", {"keep": "low"})])
def test_a_pool_keeps_the_order_of_the_scores(
    name: str, options: dict[str, str], context: StageContext
) -> None:
    task = toy_instruction_task(rows=24).sealed()
    ranking = chosen(make(name, **options).distill(task, Budget.parse("100%"), context))
    within = considered_rows(task, Budget.parse("8rows"), 8)
    limited = make(name, pool=8, **options).distill(task, Budget.parse("8rows"), context)
    assert chosen(limited) == [row for row in ranking if row in within]
