"""A context whose one student is a small random language model, and what it computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from datasets import Dataset

from causal_models import make_lm
from harness.context import StageContext
from harness.kit.language.causal_lm import CausalLM
from harness.types import TaskData
from memory_cache import MemoryCache


@dataclass(frozen=True)
class RandomLM:
    """A student whose untrained model has 2 layers and 64 positions."""

    family: str = "llama"

    def fingerprint(self) -> str:
        return f"random {self.family}"

    def build(self, task: TaskData, context: StageContext) -> CausalLM:
        return make_lm(self.family, seed=context.seed_for("weights"))


@dataclass(frozen=True)
class NoLM:
    """A student that builds something else."""

    def fingerprint(self) -> str:
        return "none"

    def build(self, task: TaskData, context: StageContext) -> object:
        return object()


STUDENTS = {family: RandomLM(family) for family in ("llama", "opt", "gpt2")} | {"none": NoLM()}


@pytest.fixture
def cache() -> MemoryCache:
    return MemoryCache()


@pytest.fixture
def computed(cache: MemoryCache) -> list[str]:
    """Names of the arrays that were computed instead of found, in order."""
    return cache.computed


@pytest.fixture
def make_context(tmp_path: Path, cache: MemoryCache) -> Callable[[int], StageContext]:
    def make(seed: int) -> StageContext:
        return StageContext(seed, tmp_path, cache=cache, student=STUDENTS.__getitem__)  # type: ignore[arg-type]

    return make


@pytest.fixture
def context(make_context: Callable[[int], StageContext]) -> StageContext:
    return make_context(0)


@pytest.fixture
def instructions() -> Callable[..., TaskData]:
    """An instruction task of given pool and target rows, (prompt, completion) each."""
    from harness.testing.instruction import toy_instruction_task

    def make(
        pool: list[tuple[str, str]],
        target: list[tuple[str, str]],
        subtasks: list[str] | None = None,
    ) -> TaskData:
        goal = _rows(target)
        if subtasks is not None:
            goal = goal.add_column("subtask", subtasks)
        task = toy_instruction_task().sealed()
        return replace(task, splits={"train": _rows(pool), "validation": goal})

    return make


def _rows(pairs: list[tuple[str, str]]) -> Dataset:
    return Dataset.from_dict({"prompt": [p for p, _ in pairs], "completion": [c for _, c in pairs]})
