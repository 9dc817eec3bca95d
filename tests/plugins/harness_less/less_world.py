"""A pool with planted rows, a small proxy, and everything LESS makes before it scores."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.context import StageContext
from harness.kit.language.causal_lm import CausalLM
from harness.kit.language.lora import add_lora
from harness.kit.training.parameter_layout import ParameterLayout
from harness.protocols import Student
from harness.testing.instruction import toy_instruction_task
from harness.types import TaskData
from harness_instruct.students.families import Llama
from harness_less.checkpoints import Checkpoint
from harness_less.features import GradientSource
from harness_less.less import Less
from harness_less.phases import examine_target, warm_up
from harness_less.rows import DistinctRows, ReadableRows, Target, read_pool, read_target
from harness_less.scores import ScoringInputs
from harness_less.target_gradients import usable_rows
from memory_cache import MemoryCache

PROXY = "llama:tiny"


def small(**options: Any) -> Less:
    """LESS with a warm-up of seconds."""
    known: dict[str, Any] = {
        "proxy": PROXY, "fraction": 0.25, "epochs": 2, "batch_size": 8, "learning_rate": 3e-3,
        "lora_rank": 4, "lora_alpha": 8, "max_length": 48, "target_rows": 4,
    }  # fmt: skip
    return Less(**{**known, **options})


def planted_task(related: int, unrelated: int) -> TaskData:
    """A pool whose first rows are like the target, and whose other rows are not."""
    task = toy_instruction_task(2 * max(24, related, unrelated))
    rows = [*range(0, 2 * related, 2), *range(1, 2 * unrelated, 2)]
    return replace(task, splits={**task.splits, "train": task.train.select(rows)}).sealed()


def make_context(
    folder: Path,
    seed: int = 0,
    cache: MemoryCache | None = None,
    student: Student | None = None,
) -> StageContext:
    """A context in which every spec is the same small student."""
    folder.mkdir(parents=True, exist_ok=True)
    proxy = student or Llama(variant="tiny")
    return StageContext(seed, folder, cache=cache or MemoryCache(), student=lambda spec: proxy)


@dataclass(frozen=True)
class Scene:
    """A warmed-up proxy with its pool and target."""

    less: Less
    lm: CausalLM
    layout: ParameterLayout
    readable: ReadableRows
    target: Target
    checkpoints: list[Checkpoint]
    context: StageContext

    @property
    def source(self) -> GradientSource:
        return GradientSource(self.lm, self.layout, self.context, self.less.gradients)

    def work(
        self, folder: Path, readable: ReadableRows | None = None, **options: Any
    ) -> ScoringInputs:
        """What scoring needs, with other options and, where given, other rows."""
        flaws, _ = examine_target(
            self.source, self.target, self.checkpoints, replace(self.context, workdir=folder)
        )
        return ScoringInputs(
            options=replace(self.less, **options),
            source=self.source,
            pool=DistinctRows.of(readable or self.readable),
            target=self.target,
            checkpoints=self.checkpoints,
            usable=usable_rows(flaws, self.target.subtasks),
            folder=folder,
            context=replace(self.context, workdir=folder, cache=MemoryCache()),
        )


def make_scene(
    folder: Path, task: TaskData, *, student: Student | None = None, **options: Any
) -> Scene:
    less, context = small(**options), make_context(folder, student=student)
    lm = (student or Llama(variant="tiny")).build(task, context)  # type: ignore[attr-defined]
    encoder = lm.encoder(less.max_length)
    readable = read_pool(encoder, task, np.arange(len(task.train)), context)
    target = read_target(encoder, task, less.target_rows, context)
    lm.model = add_lora(lm.model, less.lora, context.seed_for("lora")).eval()
    layout = ParameterLayout.of(lm.model)
    _, checkpoints = warm_up(less, lm, layout, readable, {}, context)
    return Scene(less, lm, layout, readable, target, checkpoints, context)
