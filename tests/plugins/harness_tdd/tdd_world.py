"""A toy task, a small student with one checkpoint, and both methods on them in seconds."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset

from harness.budget import Budget
from harness.context import ArrayCache, NoCache, StageContext
from harness.kit.text.classifier import TextClassifier
from harness.protocols import Student
from harness.registry.components import DistillerComponent
from harness.registry.contracts import check_distilled
from harness.testing.toys import toy_task
from harness.types import DistilledData, TaskData
from harness_tdd.options import TddOptions
from harness_tdd.outer_step import PerformanceMatching
from harness_tdd.stages import build_matching
from harness_tdd.tokens import TddTokens
from harness_tdd.vectors import Tdd
from harness_text.students import Bert

BUDGET = "3/class"
CHECKPOINT = 5
WIDER = 5.0


class Checkpoint(Bert):
    """The same weights whatever the seed, but for the head, as a model from a checkpoint has.

    Its input embeddings are not trained, so that training on them as vectors is the same.
    """

    dtype: torch.dtype = torch.float32

    def build(
        self, task: TaskData, context: StageContext, *, max_length: int = 128
    ) -> TextClassifier:
        made = super().build(task, replace(context, seed=CHECKPOINT), max_length=max_length)
        for name, parameter in made.model.named_parameters():
            if "encoder" in name and parameter.dim() == 2:
                # As drawn, a text hardly reaches the first token's output.
                parameter.data *= WIDER
        draw = context.torch_generator("head")
        weight = made.head.weight
        weight.data = 0.02 * torch.randn(weight.shape, generator=draw)
        made.model.get_input_embeddings().weight.requires_grad_(False)
        made.model.to(self.dtype)
        return made


class DoubleCheckpoint(Checkpoint):
    """In float64, for gradients that are compared."""

    dtype = torch.float64


def toy() -> TaskData:
    return toy_task(rows=40).sealed()


def small(**options: Any) -> Tdd:
    """`tdd` in seconds."""
    known: dict[str, Any] = {
        "proxy": "bert:tiny", "inner_steps": 2, "outer_steps": 4, "real_batch": 8, "heads": 2,
        "held_out": 10, "max_length": 32, "step_size": 0.5,
    }  # fmt: skip
    return Tdd(**{**known, **options})


def small_tokens(labels: Any = "hard", **options: Any) -> TddTokens:
    """`tdd-tokens` with the same learning."""
    return TddTokens(**asdict(small(**options)), labels=labels)


def make_context(
    folder: Path,
    seed: int = 0,
    *,
    cache: ArrayCache | None = None,
    student: Student | None = None,
) -> StageContext:
    """A context in which every spec is the same small student."""
    folder.mkdir(parents=True, exist_ok=True)
    proxy = student or Checkpoint("tiny")
    return StageContext(seed, folder, cache=cache or NoCache(), student=lambda spec: proxy)


def make_matching(
    folder: Path,
    *,
    student: Student | None = None,
    budget: str = BUDGET,
    task: TaskData | None = None,
    **options: Any,
) -> PerformanceMatching:
    """The outer loop before its first step."""
    context, size = make_context(folder, student=student), Budget.parse(budget)
    return build_matching(small(**options), task or toy(), size, context)[0]


@dataclass(frozen=True)
class Done:
    """What a run gave, and with what."""

    task: TaskData
    method: TddOptions
    data: DistilledData
    context: StageContext


def run(
    method: Tdd | TddTokens,
    context: StageContext,
    *,
    task: TaskData | None = None,
    budget: str = BUDGET,
) -> Done:
    """A run whose result is checked as the host does."""
    task, size = task or toy(), Budget.parse(budget)
    data = method.distill(task, size, context)
    produces: Any = "arrays" if isinstance(method, Tdd) else "synthesis"
    component = DistillerComponent(
        "distiller", "tdd", type(method), "", "tdd", "", "1", produces=produces
    )
    check_distilled(component, data, task, size)
    return Done(task, method, data, context)


def planted(rows: int = 60) -> TaskData:
    """The toy task with texts of nothing but their class's adjectives."""
    draw = np.random.default_rng(0)
    words = [part.split() for part in ("warm bright clever tender", "dull cold clumsy stale")]
    labels = [row % 2 for row in range(rows)]
    texts = [" ".join(draw.choice(words[label], 3)) for label in labels]
    task = toy()
    train = Dataset.from_dict({"text": texts, "label": labels}, features=task.train.features)
    return replace(task, splits={**task.splits, "train": train})
