"""Expert trajectories on the full pool, and their segments that student trajectories match."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.context import StageContext
from harness.errors import DivergenceError
from harness.fingerprint import digest, rows_digest
from harness.kit.embedding import proxy_inputs
from harness.kit.trajectories.experts import (
    ExpertOptimizer,
    ExpertOptions,
    ExpertTrajectories,
    Segment,
    draw_segment,
    record_experts,
)
from harness.kit.trajectories.inner_loop.matching_loss import MatchingTarget, relative_displacement
from harness.kit.trajectories.inner_loop.optimizers import Adam, InnerOptimizer, InnerState, Sgd
from harness.kit.trajectories.inner_loop.steps import InnerLoop, InnerLoss
from harness.kit.trajectories.proxies import Proxy, SyntheticData
from harness.randomness import derive_seed
from harness.types import TaskData
from harness_trajectory.options import TrajectoryOptions

_SEED = derive_seed("trajectory experts")


def train_experts(
    proxy: Proxy, options: TrajectoryOptions, task: TaskData, context: StageContext
) -> ExpertTrajectories:
    """The experts, shared by all seeds, budgets and settings of matching; a kill loses little.

    Raises:
        DivergenceError: an expert left the finite numbers.
        HarnessError: an expert did not move.
    """
    inputs = expert_inputs(options, task, context)

    def train() -> Mapping[str, np.ndarray]:
        with proxy.expert_model() as expert_model:
            trajectories = record_experts(
                context.workdir / "experts",
                expert_model,
                expert_options(options),
                context,
                model=digest(inputs["proxy"]),
                data=inputs["train"],
            )
            return trajectories.arrays()

    arrays = context.cache.arrays("trajectory-experts", inputs, train)
    return ExpertTrajectories.of_arrays(arrays)


def expert_inputs(
    options: TrajectoryOptions, task: TaskData, context: StageContext
) -> dict[str, Any]:
    """Everything that the experts depend on."""
    return {
        "proxy": proxy_inputs(task, options.proxy, context),
        "train": rows_digest(task.train),
        "device": context.device.partition(":")[0],
        "options": options.expert_inputs(),
    }


def expert_options(options: TrajectoryOptions) -> ExpertOptions:
    return ExpertOptions(
        experts=options.experts,
        steps=options.expert_steps,
        every=options.every,
        batch_size=options.expert_batch,
        optimizer=ExpertOptimizer(
            options.expert_optimizer, options.expert_learning_rate, options.expert_momentum
        ),
        seed=_SEED,
    )


@dataclass(frozen=True)
class ExpertSegments:
    """What student trajectories are matched to, and the inner loop that makes them."""

    proxy: Proxy
    trajectories: ExpertTrajectories
    options: TrajectoryOptions

    @property
    def training(self) -> range:
        """The experts that are learned from; the others are held out."""
        return range(self.options.experts - self.options.held_out)

    def draw(self, generator: np.random.Generator) -> Segment:
        """A segment of an expert that is learned from."""
        options = self.options
        drawn = draw_segment(
            self.trajectories,
            generator,
            max_start=options.max_start - options.first_start,
            span=options.span + options.first_start,
            experts=self.training,
        )
        start = drawn.start + options.first_start
        return Segment(drawn.expert, start, start + options.span)

    def measured(self) -> list[Segment]:
        """Every segment of the held-out experts, of all where none is held out."""
        options = self.options
        first = options.experts - options.held_out if options.held_out else 0
        return [
            Segment(expert, start, start + options.span)
            for expert in range(first, options.experts)
            for start in range(options.first_start, options.max_start)
        ]

    def target(self, segment: Segment) -> MatchingTarget:
        """The expert's parameters at both ends."""
        ends = (segment.start, segment.target)
        start, target = (
            self.trajectories.state(segment.expert, state).to(self.proxy.device) for state in ends
        )
        return MatchingTarget(self.proxy.layout, start, target)

    def start(self, segment: Segment) -> InnerState:
        """The expert's parameters and, for its own optimiser, its memory of them."""
        theta = self.trajectories.state(segment.expert, segment.start).to(self.proxy.device)
        memory = self.trajectories.memory(segment.expert, segment.start)
        vectors = memory.vectors.to(self.proxy.device)
        match self.optimizer:
            case Adam() as adam:
                return adam.resume(theta, vectors[0], vectors[1], memory.step)
            case Sgd(momentum=0.0) as descent:
                return descent.begin(theta)
            case Sgd() as descent:
                return descent.resume(theta, vectors[0], memory.step)
        raise TypeError(self.optimizer)

    @property
    def optimizer(self) -> InnerOptimizer:
        if self.options.descends:
            return Sgd()
        known = self.trajectories.manifest.options.optimizer
        if known.kind == "adam":
            return Adam(*known.betas, known.eps)
        return Sgd(known.momentum)

    def inner_loop(self, loss: InnerLoss, rows: int, generator: np.random.Generator) -> InnerLoop:
        """Inner steps on shuffled rows, each seen equally often, no batch short."""
        options = self.options
        return InnerLoop.shuffled(
            loss,
            self.optimizer,
            rows,
            options.inner_batch,
            options.inner_steps,
            generator,
            self.proxy.device,
        )


@dataclass(frozen=True)
class MeasuredMatching:
    """How well some rows match every measured segment.

    losses: of the inner loops' ends, the option `loss`; distances: [N + 1] mean of ||theta_k -
    target||^2 / D after each inner step; displacement: the largest ||theta_N - theta_0|| /
    ||theta_0||; states: [N + 1, P] the student trajectory from the first start.
    """

    losses: tuple[float, ...]
    distances: np.ndarray
    displacement: float
    states: Tensor

    @property
    def loss(self) -> float:
        return float(np.mean(self.losses))


def measure(
    segments: ExpertSegments, data: SyntheticData, context: StageContext
) -> MeasuredMatching | None:
    """Trains on synthetic data from every measured start, without learning anything of it.

    All are compared on the same order of batches. None where an inner loop diverges, which
    unlearned rows may make it do.
    """
    losses, distances, moves = [], [], []
    states: list[InnerState] = []
    measured = segments.measured()
    for place, segment in enumerate(context.track(measured, "measuring", total=len(measured))):
        generator = np.random.default_rng(derive_seed("trajectory measuring", place))
        target = segments.target(segment)
        loop = segments.inner_loop(data.rows.loss, len(data.rows.pseudo), generator)
        try:
            found = loop.states(segments.start(segment), data.learned, data.step_size)
        except DivergenceError:
            return None
        losses.append(float(target.loss(segments.options.loss)(found[-1].theta)))
        squared = target.loss("squared")
        distances.append([float(squared(state.theta)) for state in found])
        moves.append(relative_displacement(target.start, found[-1].theta))
        states = states or found
    return MeasuredMatching(
        tuple(losses),
        np.mean(distances, axis=0),
        max(moves),
        torch.stack([state.theta.cpu() for state in states]),
    )
