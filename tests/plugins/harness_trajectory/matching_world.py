"""A toy task, a small proxy, and runs of trajectory matching on them in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.budget import Budget
from harness.context import StageContext
from harness.protocols import Student
from harness.testing.instruction import toy_instruction_task
from harness.types import DistilledData, TaskData
from harness_instruct.students.families import Llama
from harness_trajectory.trajectory import Trajectory
from memory_cache import MemoryCache

ROWS = 6


@dataclass(frozen=True)
class Done:
    """What a run gave, and with what."""

    task: TaskData
    method: Trajectory
    data: DistilledData
    context: StageContext


def small(**options: Any) -> Trajectory:
    """Trajectory matching in seconds."""
    known: dict[str, Any] = {
        "proxy": "llama:tiny", "experts": 2, "expert_steps": 20, "every": 5, "expert_batch": 8,
        "expert_learning_rate": 2e-3, "max_start": 2, "span": 2, "inner_steps": 3,
        "inner_batch": 4, "outer_steps": 6, "lora_rank": 2, "max_length": 32,
    }  # fmt: skip
    return Trajectory(**{**known, **options})


def make_context(
    folder: Path, cache: MemoryCache, seed: int = 0, student: Student | None = None
) -> StageContext:
    """A context in which every spec is the same small student."""
    folder.mkdir(parents=True, exist_ok=True)
    proxy = student or Llama(variant="tiny")
    return StageContext(seed, folder, cache=cache, student=lambda spec: proxy)


def instructions() -> TaskData:
    return toy_instruction_task(24).sealed()


def run(
    folder: Path,
    cache: MemoryCache,
    *,
    seed: int = 0,
    task: TaskData | None = None,
    budget: str = f"{ROWS}rows",
    student: Student | None = None,
    **options: Any,
) -> Done:
    method, context = small(**options), make_context(folder, cache, seed, student)
    task = task or instructions()
    return Done(task, method, method.distill(task, Budget.parse(budget), context), context)
