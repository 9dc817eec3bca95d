"""Perplexity against the model run on one row at a time, and which of the rows it keeps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.budget import Budget
from harness.context import StageContext
from harness.errors import HarnessError
from harness.kit.language import proxy as causal_proxy
from harness.testing.instruction import toy_instruction_task
from harness.types import TaskData
from harness_relevance.perplexity import Perplexity, distance_from_middle


@pytest.fixture
def task() -> TaskData:
    return toy_instruction_task(rows=24).sealed()


def plain_losses(task: TaskData, context: StageContext) -> list[float]:
    """The mean loss of each completion, its row alone and every token's logits at hand."""
    lm = context.student("llama").build(  # type: ignore[attr-defined]
        task, replace(context, seed=causal_proxy._SEED)
    )
    losses = []
    for pair in zip(task.train["prompt"], task.train["completion"], strict=True):
        encoded = lm.encoder().encode([pair], end=False)
        ids, labels = encoded.rows.ids[0], encoded.labels[0]
        with torch.no_grad():
            logits = lm.model(torch.tensor([ids.tolist()])).logits[0].double()
        own = [
            float(logits[place - 1].logsumexp(0) - logits[place - 1, ids[place]])
            for place in range(1, len(ids))
            if labels[place] >= 0
        ]
        losses.append(sum(own) / len(own))
    return losses


def test_losses_are_those_of_each_row_alone(task: TaskData, context: StageContext) -> None:
    losses = plain_losses(task, context)
    order = np.argsort(losses, kind="stable").tolist()
    for keep, expected in (("low", order[:5]), ("high", order[::-1][:5])):
        data = Perplexity("llama", keep=keep).distill(  # type: ignore[arg-type]
            task, Budget.parse("5rows"), context
        )
        assert data.indices is not None
        assert data.indices.tolist() == expected
        assert data.report["mean_score"] == pytest.approx(np.mean(losses), rel=1e-5)
        chosen = np.array(losses)[expected].mean()
        assert data.report["mean_score_chosen"] == pytest.approx(chosen, rel=1e-5)


def test_the_middle_is_as_far_from_either_end(task: TaskData, context: StageContext) -> None:
    order = np.argsort(plain_losses(task, context), kind="stable").tolist()
    data = Perplexity("llama").distill(task, Budget.parse("6rows"), context)
    assert data.indices is not None
    assert set(data.indices.tolist()) == set(order[9:15])


@given(values=st.lists(st.sampled_from([0.0, 1.0, 2.5, math.nan, math.inf]), min_size=1))
def test_ranks_are_counted_from_the_middle(values: list[float]) -> None:
    usable = [n for n in range(len(values)) if math.isfinite(values[n])]
    ranks = sorted(usable, key=lambda n: (values[n], n))
    found = distance_from_middle(np.array(values))
    for n in range(len(values)):
        if n in ranks:
            before, after = ranks.index(n), len(ranks) - 1 - ranks.index(n)
            assert found[n] == abs(before - after) / 2
        else:
            assert math.isnan(found[n])


@pytest.mark.parametrize("keep", ["low", "middle", "high"])
def test_rows_without_a_loss_are_reported_and_never_chosen(
    keep: str, task: TaskData, context: StageContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = np.arange(24.0)
    losses[[0, 3]] = math.nan
    losses[23] = math.inf
    monkeypatch.setattr(causal_proxy.CausalProxy, "losses", lambda *_, **__: losses)
    method = Perplexity("llama", keep=keep)  # type: ignore[arg-type]
    data = method.distill(task, Budget.parse("21rows"), context)
    assert data.indices is not None
    assert sorted(data.indices.tolist()) == [n for n in range(23) if n not in (0, 3)]
    assert data.report["rows_without_score"] == 3
    with pytest.raises(HarnessError, match="only 21 of 24 rows"):
        method.distill(task, Budget.parse("22rows"), context)


def test_losses_are_computed_once(
    task: TaskData, make_context: Callable[[int], StageContext], computed: list[str]
) -> None:
    for seed, keep in enumerate(("low", "middle", "high")):
        Perplexity("llama", keep=keep).distill(  # type: ignore[arg-type]
            task, Budget.parse("25%"), make_context(seed)
        )
    assert computed == ["causal-losses"]
