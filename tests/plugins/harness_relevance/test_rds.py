"""RDS and RDS+ against one row at a time without padding, and vectors that are not numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from harness.budget import Budget
from harness.context import StageContext
from harness.errors import HarnessError, UsageError
from harness.kit.language import proxy as causal_proxy
from harness.kit.language.hidden_states import PooledStates
from harness.kit.language.proxy import CausalProxy
from harness.testing.instruction import toy_instruction_task
from harness.types import DistilledData, Split, TaskData
from harness_relevance.directions import directions
from harness_relevance.rds import RDS, subtask_means
from harness_relevance.rds_plus import RDSPlus
from resolved import resolved

MakeTask = Callable[..., TaskData]


@pytest.fixture
def task() -> TaskData:
    return toy_instruction_task(rows=24).sealed()


def plain_states(task: TaskData, split: Split, context: StageContext) -> list[np.ndarray]:
    """[length, d] hidden states of each row alone, from the model run with all its outputs."""
    own = replace(context, seed=causal_proxy._SEED)
    lm = context.student("llama").build(task, own)  # type: ignore[attr-defined]
    rows = task.split(split)
    states = []
    for pair in zip(rows["prompt"], rows["completion"], strict=True):
        (ids,) = lm.encoder().encode([pair], end=False).rows.ids
        with torch.no_grad():
            made = lm.model(torch.tensor([ids.tolist()]), output_hidden_states=True)
        states.append(made.hidden_states[-1][0].double().numpy())
    return states


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    return float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))


def indices(data: DistilledData) -> list[int]:
    assert data.indices is not None
    return data.indices.tolist()


def test_rds_is_the_cosine_of_last_states_with_the_nearest_subtask(
    task: TaskData, context: StageContext
) -> None:
    pool = [states[-1] for states in plain_states(task, "train", context)]
    goal = [states[-1] for states in plain_states(task, "validation", context)]
    names = task.validation["subtask"][:]
    scores = []
    for row in pool:
        found = []
        for name in sorted(set(names)):
            own = [v / np.linalg.norm(v) for v, n in zip(goal, names, strict=True) if n == name]
            found.append(cosine(row, np.mean(own, axis=0)))
        scores.append(max(found))
    data = RDS(proxy="llama").distill(task, Budget.parse("24rows"), context)
    assert indices(data) == np.argsort(-np.array(scores), kind="stable").tolist()
    assert data.report["mean_score"] == pytest.approx(np.mean(scores), abs=1e-5)
    assert data.report["subtasks"] == 2
    best = RDS(proxy="llama").distill(task, Budget.parse("3rows"), context)
    assert best.report["mean_score_chosen"] == pytest.approx(np.sort(scores)[-3:].mean(), abs=1e-5)


def test_rds_plus_lets_examples_take_turns_by_weighted_states(
    task: TaskData, context: StageContext
) -> None:
    def weighted(split: Split) -> list[np.ndarray]:
        vectors = []
        for states in plain_states(task, split, context):
            total = np.zeros(states.shape[1])
            for position, state in enumerate(states, start=1):
                total += position * state
            vectors.append(total / (len(states) * (len(states) + 1) / 2))
        return vectors

    pool, goal = weighted("train"), weighted("validation")
    expected: list[int] = []
    scores: list[float] = []
    for turn in range(11):
        example = goal[turn % len(goal)]
        free = [n for n in range(24) if n not in expected]
        expected.append(max(free, key=lambda n: (cosine(pool[n], example), -n)))
        scores.append(cosine(pool[expected[-1]], example))
    data = RDSPlus(proxy="llama").distill(task, Budget.parse("11rows"), context)
    assert indices(data) == expected
    assert data.report["mean_score_chosen"] == pytest.approx(np.mean(scores), abs=1e-5)


def test_both_share_one_pass_over_pool_and_target(
    task: TaskData, make_context: Callable[[int], StageContext], computed: list[str]
) -> None:
    for seed, budget in enumerate(("3rows", "25%")):
        for method in (RDS, RDSPlus):
            method(proxy="llama").distill(task, Budget.parse(budget), make_context(seed))
    assert computed == ["causal-states"] * 2
    RDS(proxy="llama", max_length=40).distill(task, Budget.parse("3rows"), make_context(0))
    RDS(proxy="gpt2").distill(task, Budget.parse("3rows"), make_context(0))
    assert computed == ["causal-states"] * 6


@pytest.mark.parametrize("method", [RDS, RDSPlus])
@pytest.mark.parametrize("family", ["llama", "opt", "gpt2"])
def test_the_order_of_the_pool_changes_nothing(
    method: type[RDS] | type[RDSPlus], family: str, task: TaskData, context: StageContext
) -> None:
    order = np.random.default_rng(0).permutation(24)
    splits = {**task.splits, "train": task.train.select(order)}
    budget = Budget.parse("7rows")
    first = method(proxy=family).distill(task, budget, context)
    again = method(proxy=family).distill(replace(task, splits=splits), budget, context)
    assert first.rows["prompt"][:] == again.rows["prompt"][:]


def test_directions_have_length_one_or_none() -> None:
    found = directions(np.array([[3.0, 4.0], [0.0, 0.0], [np.nan, 1.0], [np.inf, 1.0]]))
    np.testing.assert_allclose(found[0], [0.6, 0.8], rtol=1e-6)
    assert np.isnan(found[1:]).all()


def test_each_row_of_a_subtask_counts_the_same_whatever_its_length() -> None:
    units = directions(np.array([[100.0, 0.0], [0.0, 1.0], [1.0, 0.0], [np.nan, 0.0]]))
    found = subtask_means(units, [np.array([0, 1]), np.array([2, 3])])
    np.testing.assert_allclose(found, [[0.5**0.5, 0.5**0.5], [1.0, 0.0]], rtol=1e-6)


def test_a_subtask_without_a_direction_is_left_out() -> None:
    units = directions(np.array([[1.0, 0.0], [np.nan, 0.0], [0.0, 1.0], [0.0, -1.0]]))
    found = subtask_means(units, [np.array([0]), np.array([1]), np.array([2, 3])])
    assert found.tolist() == [[1.0, 0.0]]


def broken_states(pool: list[int], target: list[int]) -> Callable[..., PooledStates]:
    """States of rows that point to (1, 0), but for those named, which are not numbers."""

    def states(
        proxy: CausalProxy, split: Split, *, max_length: int, rows: np.ndarray | None = None
    ) -> PooledStates:
        count = len(proxy.task.split(split)) if rows is None else len(rows)
        vectors = np.tile(np.array([1.0, 0.0], dtype=np.float32), (count, 1))
        vectors[{"train": pool, "validation": target}[split]] = np.nan
        return PooledStates(vectors, vectors, vectors)

    return states


@pytest.mark.parametrize("method", [RDS, RDSPlus])
def test_rows_without_a_vector_are_reported_and_never_chosen(
    method: type[RDS] | type[RDSPlus],
    task: TaskData,
    context: StageContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(CausalProxy, "states", broken_states([0, 2], [1]))
    data = method(proxy="llama").distill(task, Budget.parse("22rows"), context)
    assert sorted(indices(data)) == [n for n in range(24) if n not in (0, 2)]
    assert data.report["rows_without_score"] == 2
    assert data.report["target_rows_without_vector"] == 1
    with pytest.raises(HarnessError, match="only 22 of 24 rows have a finite score"):
        method(proxy="llama").distill(task, Budget.parse("23rows"), context)


@pytest.mark.parametrize("method", [RDS, RDSPlus])
def test_a_target_without_any_vector_is_an_error(
    method: type[RDS] | type[RDSPlus],
    task: TaskData,
    context: StageContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(CausalProxy, "states", broken_states([], list(range(8))))
    with pytest.raises(HarnessError, match="gives every target row a vector that is zero or not"):
        method(proxy="llama").distill(task, Budget.parse("3rows"), context)


@pytest.mark.parametrize("method", [RDS, RDSPlus])
def test_a_length_without_tokens_is_refused(method: type[RDS] | type[RDSPlus]) -> None:
    with pytest.raises(UsageError, match="max_length = 0: should be a whole number, at least 1"):
        resolved(method, max_length=0)
