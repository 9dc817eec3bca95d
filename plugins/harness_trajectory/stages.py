"""From a task to distilled rows: experts, vectors, tokens, text, each measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from harness.budget import Budget
from harness.context import StageContext
from harness.errors import DivergenceError
from harness.kit.files.checkpoint import Checkpoint
from harness.kit.trajectories.initial_rows import Beginning, initial_rows
from harness.kit.trajectories.proxies import Proxy, Trainable
from harness.kit.trajectories.pseudo_prompts import PseudoPrompts
from harness.kit.trajectories.pseudo_rows import EMBEDDINGS
from harness.kit.trajectories.token_projection import NearestTokens
from harness.kit.trajectories.words import (
    Vocabulary,
    drift,
    neighbours,
    read_vocabulary,
    without_blanks,
)
from harness.types import DistilledData, TaskData
from harness_trajectory.expert_segments import (
    Measured,
    Passages,
    expert_inputs,
    measure,
    train_experts,
)
from harness_trajectory.options import TrajectoryOptions
from harness_trajectory.outer_step import SAVE_SECONDS, Learning, Learnt
from harness_trajectory.pictures import show
from harness_trajectory.proxies import build_proxy

if TYPE_CHECKING:
    from datasets import Dataset

Report = dict[str, float | int | str]


@dataclass(frozen=True)
class Stage:
    """The same rows at one stage of the way, and how they are trained on."""

    rows: Trainable
    vectors: Tensor
    step_size: Tensor

    @classmethod
    def of(cls, proxy: Proxy, rows: Trainable, step_size: Tensor) -> Stage:
        """With the embeddings of the rows' own ids."""
        return cls(rows, rows.pseudo.initial(proxy.view), step_size)


@dataclass(frozen=True)
class Way:
    """What was learned, and the pieces it was learned with.

    rows: of real text, whose `learnt` vectors replace the embeddings of marked tokens; words: the
    same rows with the nearest tokens; restored: rows that would have been blank.
    """

    proxy: Proxy
    passages: Passages
    prompts: PseudoPrompts
    rows: Trainable
    vocabulary: Vocabulary
    learning: Learning
    learnt: Learnt
    found: NearestTokens
    words: PseudoPrompts
    restored: int

    @cached_property
    def texts(self) -> Dataset:
        """The nearest tokens as rows of the task."""
        return self.proxy.texts(self.words)

    @cached_property
    def read(self) -> Trainable:
        """The texts, tokenised again."""
        return self.proxy.read(self.texts)

    @property
    def before_projection(self) -> Stage:
        """The rows with what was learned."""
        return Stage(self.rows, self.learnt.vectors, self.learnt.step_size)

    def stages(self) -> dict[str, Stage]:
        """The rows on their way from real text to learned text."""
        start, step_size = self.learning.start(), self.learnt.step_size
        words = self.proxy.trainable(self.words)
        return {
            "initial": Stage(self.rows, start.vectors, start.step_size),
            "initial_at_learned_step": Stage(self.rows, start.vectors, step_size),
            "before_projection": self.before_projection,
            "after_projection": Stage.of(self.proxy, words, step_size),
            "as_text": Stage.of(self.proxy, self.read, step_size),
        }


def learned_way(
    options: TrajectoryOptions, task: TaskData, budget: Budget, context: StageContext
) -> Way:
    """Experts, vectors and nearest tokens; learned once for all methods with these options."""
    proxy = build_proxy(options, task, context)
    vocabulary = read_vocabulary(proxy)
    beginning = Beginning("trajectory", options.initial, options.keep_template, options.tokens)
    prompts = initial_rows(proxy, vocabulary, beginning, budget, context)
    passages = Passages(proxy, train_experts(proxy, options, task, context), options)
    rows = proxy.trainable(prompts)
    learning = Learning(passages, rows, vocabulary, options, context)
    inputs = {
        "experts": expert_inputs(options, task, context),
        "options": asdict(options),
        "budget": str(budget),
        "seed": context.seed,
    }

    def learn() -> Mapping[str, np.ndarray]:
        path = context.workdir / "learning.safetensors"
        return learning.run(Checkpoint(path, inputs, SAVE_SECONDS)).arrays()

    stored = context.cache.arrays("trajectory-vectors", inputs, learn)
    learnt = Learnt.of_arrays(stored, proxy.device)
    found = learning.nearest(learnt.vectors)
    words, restored = without_blanks(proxy, prompts, found.ids.cpu().numpy())
    return Way(proxy, passages, prompts, rows, vocabulary, learning, learnt, found, words, restored)


def learn_rows(
    options: TrajectoryOptions, task: TaskData, budget: Budget, context: StageContext
) -> DistilledData:
    """What `Trajectory.distill` promises."""
    way = learned_way(options, task, budget, context)
    proxy, learnt = way.proxy, way.learnt
    measured = {
        name: measured_stage(way.passages, stage, context) for name, stage in way.stages().items()
    }
    show(context, learnt, way.passages, measured)
    report: Report = {
        "method": "reconstruction",
        **losses(measured),
        **neighbours(way.found, way.prompts, way.vocabulary),
        "round_trip_drift": drift(way.words, way.read),
        "tokens": int(way.read.pseudo.rows.lengths.sum()),
        "restored_rows": way.restored,
        "step_size": float(learnt.step_size),
        "step_size_use": "of the proxy alone; students tune their own rate",
        "matched_parameters": proxy.layout.size,
        "outer_steps": learnt.steps,
        "largest_displacement": displacement(measured),
    }
    if learnt.diverged >= 0:
        report["diverged_at_step"] = learnt.diverged
    if options.verify:
        report["engine_error"] = way.learning.disagreement(way.learning.start())
    return DistilledData(rows=way.texts, report=report)


def measured_stage(passages: Passages, stage: Stage, context: StageContext) -> Measured | None:
    """None where an inner loop diverges, which unlearned rows may make it do."""
    learned = {EMBEDDINGS: stage.vectors}
    try:
        return measure(passages, stage.rows.loss, learned, stage.step_size, context)
    except DivergenceError:
        return None


def losses(measured: Mapping[str, Measured | None]) -> Report:
    """The mean matching loss at each stage, on experts that were not learned from."""
    return {
        f"matching_loss_{name}": "diverged" if found is None else found.loss
        for name, found in measured.items()
    }


def displacement(measured: Mapping[str, Measured | None]) -> float:
    """The largest of all inner loops that stayed finite, relative to the parameters."""
    return max((found.displacement for found in measured.values() if found), default=0.0)
