"""From a task to distilled rows: experts, learned embeddings, tokens, text, each measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from torch import Tensor

from harness.budget import Budget
from harness.context import StageContext
from harness.kit.trajectories.initial_rows import Initialisation, initial_rows
from harness.kit.trajectories.outer_loop import OuterLoop, OuterState
from harness.kit.trajectories.proxies import LearnableRows, Proxy, SyntheticData
from harness.kit.trajectories.pseudo_prompts import PseudoPrompts
from harness.kit.trajectories.pseudo_rows import EMBEDDINGS
from harness.kit.trajectories.token_projection import NearestTokens
from harness.kit.trajectories.words import drift, neighbours, read_vocabulary, without_blanks
from harness.types import DistilledData, TaskData
from harness_trajectory.expert_segments import (
    ExpertSegments,
    MeasuredMatching,
    expert_inputs,
    measure,
    train_experts,
)
from harness_trajectory.options import TrajectoryOptions
from harness_trajectory.outer_step import RHO, VECTORS, TrajectoryMatching
from harness_trajectory.pictures import show
from harness_trajectory.proxies import build_proxy

if TYPE_CHECKING:
    from datasets import Dataset

Report = dict[str, float | int | str]


@dataclass(frozen=True)
class TrajectoryResult:
    """Where the outer loop ended, and what it learned with.

    prompts: the real rows that it began as; nearest: the tokens nearest to the learned embeddings;
    projected: the rows with these tokens; restored: how many would have been blank.
    """

    matching: TrajectoryMatching
    prompts: PseudoPrompts
    state: OuterState
    nearest: NearestTokens
    projected: PseudoPrompts
    restored: int

    @property
    def proxy(self) -> Proxy:
        return self.matching.segments.proxy

    @property
    def step_size(self) -> Tensor:
        return self.state.learned[RHO].exp()

    @cached_property
    def texts(self) -> Dataset:
        """The nearest tokens as rows of the task."""
        return self.proxy.texts(self.projected)

    @cached_property
    def read(self) -> LearnableRows:
        """The texts, tokenised again."""
        return self.proxy.read(self.texts)

    @property
    def before_projection(self) -> SyntheticData:
        """The rows with the learned embeddings."""
        learned = {EMBEDDINGS: self.state.learned[VECTORS]}
        return SyntheticData(self.matching.rows, learned, self.step_size)

    def synthetic_data(self) -> dict[str, SyntheticData]:
        """The rows from real text to learned text."""
        start, rows, step_size = self.matching.start(), self.matching.rows, self.step_size
        projected = self.proxy.trainable(self.projected)
        return {
            "initial": self._unlearned(rows, start.learned[RHO].exp()),
            "initial_at_learned_step": self._unlearned(rows, step_size),
            "before_projection": self.before_projection,
            "after_projection": self._unlearned(projected, step_size),
            "as_text": self._unlearned(self.read, step_size),
        }

    def _unlearned(self, rows: LearnableRows, step_size: Tensor) -> SyntheticData:
        """With the embeddings of the rows' own tokens."""
        return SyntheticData(rows, {EMBEDDINGS: rows.pseudo.initial(self.proxy.view)}, step_size)


def learn_embeddings(
    options: TrajectoryOptions, task: TaskData, budget: Budget, context: StageContext
) -> TrajectoryResult:
    """Experts, the outer loop, nearest tokens; done once for all methods with these options."""
    proxy = build_proxy(options, task, context)
    vocabulary = read_vocabulary(proxy)
    how = Initialisation("trajectory", options.initial, options.keep_template, options.tokens)
    prompts = initial_rows(proxy, vocabulary, how, budget, context)
    segments = ExpertSegments(proxy, train_experts(proxy, options, task, context), options)
    rows = proxy.trainable(prompts)
    matching = TrajectoryMatching(segments, rows, vocabulary, options, context)
    inputs = {
        "experts": expert_inputs(options, task, context),
        "options": asdict(options),
        "budget": str(budget),
        "seed": context.seed,
    }
    loop = OuterLoop("trajectory", matching.start(), matching.step, options.outer_steps, context)
    state = loop.shared("trajectory-vectors", inputs)
    nearest = matching.nearest(state.learned[VECTORS])
    projected, restored = without_blanks(proxy, prompts, nearest.ids.cpu().numpy())
    return TrajectoryResult(matching, prompts, state, nearest, projected, restored)


def learn_rows(
    options: TrajectoryOptions, task: TaskData, budget: Budget, context: StageContext
) -> DistilledData:
    """What `Trajectory.distill` promises."""
    result = learn_embeddings(options, task, budget, context)
    matching, state = result.matching, result.state
    measured = {
        name: measure(matching.segments, data, context)
        for name, data in result.synthetic_data().items()
    }
    show(context, state, matching.segments, measured)
    report: Report = {
        "method": "reconstruction",
        **losses(measured),
        **neighbours(result.nearest, result.prompts, matching.vocabulary),
        "round_trip_drift": drift(result.projected, result.read),
        "tokens": int(result.read.pseudo.rows.lengths.sum()),
        "restored_rows": result.restored,
        "step_size": float(result.step_size),
        "step_size_use": "of the proxy alone; students tune their own rate",
        "matched_parameters": result.proxy.layout.size,
        "outer_steps": state.steps,
        "largest_displacement": displacement(measured),
    }
    if state.diverged >= 0:
        report["diverged_at_step"] = state.diverged
    if options.verify:
        report["engine_error"] = matching.disagreement()
    return DistilledData(rows=result.texts, report=report)


def losses(measured: Mapping[str, MeasuredMatching | None]) -> Report:
    """The mean matching loss of each synthetic data, on experts that were not learned from."""
    return {
        f"matching_loss_{name}": "diverged" if found is None else found.loss
        for name, found in measured.items()
    }


def displacement(measured: Mapping[str, MeasuredMatching | None]) -> float:
    """The largest of all inner loops that stayed finite, relative to the parameters."""
    return max((found.displacement for found in measured.values() if found), default=0.0)
