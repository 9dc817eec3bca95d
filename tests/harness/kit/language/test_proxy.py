"""What a proxy sees in instructions: computed once, named by all it depends on, and embeddings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from causal_models import make_lm
from harness.context import StageContext
from harness.errors import HarnessError, UsageError
from harness.kit.embedding import embed_rows
from harness.kit.language import proxy as causal_proxy
from harness.kit.language.causal_lm import CausalLM
from harness.kit.language.proxy import CausalProxy, require_instructions
from harness.testing.instruction import toy_instruction_task
from harness.testing.toys import WordCounts, toy_task
from harness.types import TaskData
from memory_cache import MemoryCache


@dataclass(frozen=True)
class RandomLM:
    weights: str = "a"
    broken: bool = False

    def fingerprint(self) -> str:
        return self.weights

    def build(self, task: TaskData, context: StageContext) -> CausalLM:
        lm = make_lm(seed=context.seed_for(self.weights))
        if self.broken:
            with torch.no_grad():
                lm.model.get_input_embeddings().weight[:] = torch.nan
        return lm


STUDENTS = {
    "lm": RandomLM(),
    "other-lm": RandomLM("b"),
    "broken": RandomLM(broken=True),
    "words": WordCounts(),
}


@pytest.fixture
def task() -> TaskData:
    return toy_instruction_task(rows=12).sealed()


@pytest.fixture
def cache() -> MemoryCache:
    return MemoryCache()


@pytest.fixture
def context(tmp_path: Path, cache: MemoryCache) -> StageContext:
    return StageContext(0, tmp_path, cache=cache, student=STUDENTS.__getitem__)  # type: ignore[arg-type]


def test_states_do_not_depend_on_the_stage(
    task: TaskData, context: StageContext, cache: MemoryCache
) -> None:
    first = CausalProxy("lm", task, context).states("train")
    again = CausalProxy("lm", task, replace(context, seed=5)).states("train")
    assert len(cache.stored) == 1
    fresh = CausalProxy("lm", task, StageContext(9, Path(), student=context.student)).states(
        "train"
    )
    np.testing.assert_array_equal(first.weighted, again.weighted)
    np.testing.assert_array_equal(first.weighted, fresh.weighted)


def test_whatever_changes_them_is_part_of_their_name(
    task: TaskData, context: StageContext, cache: MemoryCache
) -> None:
    CausalProxy("lm", task, context).states("train")
    CausalProxy("lm", task, context).states("validation")
    CausalProxy("other-lm", task, context).states("train")
    CausalProxy("lm", task, context).states("train", max_length=20)
    CausalProxy("lm", task, context).states("train", rows=np.array([1, 0]))
    vocabulary = replace(task, splits={**task.splits, "train": task.train.select(range(6))})
    CausalProxy("lm", vocabulary, context).states("validation")
    CausalProxy("lm", task, context).losses("train")
    assert len(cache.stored) == 7


def test_rows_are_given_by_position(task: TaskData, context: StageContext) -> None:
    whole = CausalProxy("lm", task, context).states("train")
    some = CausalProxy("lm", task, context).states("train", rows=np.array([7, 2]))
    np.testing.assert_allclose(some.last, whole.last[[7, 2]], rtol=1e-4, atol=1e-5)


def test_a_shorter_row_keeps_its_end(task: TaskData, context: StageContext) -> None:
    long = CausalProxy("lm", task, context).states("train")
    short = CausalProxy("lm", task, context).states("train", max_length=20)
    assert not np.allclose(long.weighted, short.weighted, atol=1e-3)
    with pytest.raises(UsageError, match="does not fit into 2 tokens"):
        CausalProxy("lm", task, context).states("train", max_length=2)


def test_losses_are_the_likelihoods_of_completions_by_token(
    task: TaskData, context: StageContext
) -> None:
    losses = CausalProxy("lm", task, context).losses("train")
    assert losses.dtype == np.float64
    lm = RandomLM().build(task, replace(context, seed=causal_proxy._SEED))
    pairs = zip(task.train["prompt"], task.train["completion"], strict=True)
    alone = [lm.loglikelihood([pair]) for pair in pairs]
    expected = [-found.sums[0] / found.tokens[0] for found in alone]
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


def test_other_modalities_are_refused() -> None:
    with pytest.raises(UsageError, match="rds is for instruction tasks, and 'toy' is of text"):
        require_instructions(toy_task(), "rds")


def test_without_a_language_model_the_error_says_so(task: TaskData, context: StageContext) -> None:
    for spec, message in (("", "no proxy to look"), ("words", "builds no causal language model")):
        with pytest.raises(UsageError, match=message):
            CausalProxy(spec, task, context).states("train")
        with pytest.raises(UsageError, match=message):
            CausalProxy(spec, task, context).losses("train")


def test_the_model_is_built_once_and_only_if_something_is_missing(
    task: TaskData, context: StageContext
) -> None:
    first = CausalProxy("lm", task, context)
    first.states("train")
    model = first.lm
    first.losses("validation")
    assert first.lm is model
    again = CausalProxy("lm", task, context)
    again.losses("validation")
    assert "lm" not in vars(again)


def test_embeddings_of_instructions_are_a_language_models_states(
    task: TaskData, context: StageContext, cache: MemoryCache
) -> None:
    rows = [3, 1, 2]
    states = CausalProxy("lm", task, context).states("train", rows=np.array(rows))
    mean = embed_rows(task, "train", "lm", "mean", context, rows=rows)
    last = embed_rows(task, "train", "lm", "cls", context, rows=rows)
    np.testing.assert_array_equal(mean, states.mean)
    np.testing.assert_array_equal(last, states.last)
    assert len(cache.stored) == 1
    with pytest.raises(UsageError, match="'head' is not defined for a language model"):
        embed_rows(task, "train", "lm", "head", context)


def test_embeddings_that_are_not_numbers_are_an_error(
    task: TaskData, context: StageContext
) -> None:
    with pytest.raises(HarnessError, match="encoder 'broken' gave NaN or infinity for 12 of 12"):
        embed_rows(task, "train", "broken", "mean", context)
