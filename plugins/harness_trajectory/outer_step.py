"""One outer step of trajectory matching: the gradient of embeddings and of the step size."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from harness.context import StageContext
from harness.errors import DivergenceError
from harness.kit.trajectories.inner_loop.engines import (
    ENGINES,
    OuterGradient,
    OuterLoss,
    disagreement,
)
from harness.kit.trajectories.inner_loop.optimizers import InnerState
from harness.kit.trajectories.inner_loop.regularisers import (
    RegulariserWeight,
    neighbour_penalty,
    norm_penalty,
)
from harness.kit.trajectories.inner_loop.steps import InnerLoop, LearnedTensors
from harness.kit.trajectories.outer_loop import OuterState
from harness.kit.trajectories.proxies import LearnableRows
from harness.kit.trajectories.pseudo_rows import EMBEDDINGS
from harness.kit.trajectories.token_projection import NearestTokens, nearest_tokens
from harness.kit.trajectories.words import Vocabulary
from harness_trajectory.expert_segments import ExpertSegments
from harness_trajectory.options import TrajectoryOptions

EXPLODED = 1e4
"""A matching loss that is taken for a diverged inner loop; not moving at all has the loss 1."""

CURVES = ("loss", "pull", "step_size", "gradient_norm")
VECTORS, RHO, NEIGHBOURS = "vectors", "rho", "neighbours"
"""In the outer state: [m, longest, d] learned embeddings; [] logarithm of the step size; [k] ids
nearest to the learned embeddings when they were last looked for."""


@dataclass(frozen=True)
class TrajectoryMatching:
    """Matches the student trajectories of some rows to expert trajectories."""

    segments: ExpertSegments
    rows: LearnableRows
    vocabulary: Vocabulary
    options: TrajectoryOptions
    context: StageContext

    def start(self) -> OuterState:
        """Before any outer step: the embeddings of the rows' own tokens."""
        pseudo = self.rows.pseudo
        vectors = pseudo.initial(self.segments.proxy.view)
        rho = vectors.new_tensor(self.options.first_step_size).log()
        learned = {VECTORS: vectors, RHO: rho}
        return OuterState.initial(learned, CURVES, **{NEIGHBOURS: pseudo.ids[pseudo.mask]})

    def step(self, state: OuterState) -> OuterState:
        """One update of embeddings and step size; draws depend on the step's number alone.

        Raises:
            DivergenceError: the inner loop left the finite numbers, or ended far away.
        """
        options, step, vectors = self.options, state.steps, state.learned[VECTORS]
        found = self._gradient(state)
        if found.loss > EXPLODED:
            raise DivergenceError(f"the matching loss is {found.loss:.3g}")
        if step % options.refresh == 0:
            state = replace(state, carried={NEIGHBOURS: self.nearest(vectors).ids})
        pull, slope = self._pull(vectors, state.carried[NEIGHBOURS], step)
        rho = state.learned[RHO]
        gradients = {
            VECTORS: found.learned[EMBEDDINGS] + slope,
            RHO: rho.new_tensor(found.log_step_size),
        }
        coordinate = (self.vocabulary.mean_square / vectors.shape[-1]) ** 0.5
        rates = {VECTORS: options.learning_rate * coordinate, RHO: options.step_learning_rate}
        norm = float(gradients[VECTORS].norm())
        values = (found.loss, pull, float(rho.exp()), norm)
        state = state.updated(gradients, rates, dict(zip(CURVES, values, strict=True)))
        if options.project_every and state.steps % options.project_every == 0:
            projected = self._projected(state.learned[VECTORS])
            state = replace(state, learned={**state.learned, VECTORS: projected})
        return state

    def nearest(self, vectors: Tensor) -> NearestTokens:
        """The allowed tokens nearest to the k learned embeddings."""
        return nearest_tokens(
            vectors[self.rows.pseudo.mask],
            self.vocabulary.table,
            self.vocabulary.allowed,
            metric=self.options.metric,
        )

    def disagreement(self) -> float:
        """How far the engine's first gradient is from the unrolled one, relative to its length."""
        return disagreement(*self._problem(self.start()), engines=(self.options.engine, "unroll"))

    def _gradient(self, state: OuterState) -> OuterGradient:
        return ENGINES[self.options.engine](*self._problem(state))

    def _problem(
        self, state: OuterState
    ) -> tuple[InnerLoop, InnerState, LearnedTensors, Tensor, OuterLoss]:
        """What an engine is asked in an outer step."""
        generator = self.context.numpy_generator("trajectory draw", state.steps)
        segment = self.segments.draw(generator)
        loop = self.segments.inner_loop(self.rows.loss, len(self.rows.pseudo), generator)
        outer = self.segments.target(segment).loss(self.options.loss)
        learned = {EMBEDDINGS: state.learned[VECTORS]}
        return loop, self.segments.start(segment), learned, state.learned[RHO], outer

    def _pull(self, vectors: Tensor, neighbours: Tensor, step: int) -> tuple[float, Tensor]:
        """The regulariser, weighted, and its gradient."""
        options = self.options
        if options.regulariser == "none" or options.strength == 0:
            return 0.0, torch.zeros_like(vectors)
        weight = RegulariserWeight(options.strength, options.schedule).at(step, options.outer_steps)
        leaf = vectors.detach().requires_grad_()
        own = leaf[self.rows.pseudo.mask]
        unit = self.vocabulary.mean_square
        if options.regulariser == "neighbour":
            pull = neighbour_penalty(own, self.vocabulary.table[neighbours]) / unit
        else:
            pull = norm_penalty(own, own.new_tensor(unit).sqrt())
        (slope,) = torch.autograd.grad(weight * pull, leaf)
        return weight * float(pull.detach()), slope

    def _projected(self, vectors: Tensor) -> Tensor:
        """Every learned embedding replaced by that of its nearest token."""
        replaced = vectors.clone()
        replaced[self.rows.pseudo.mask] = self.vocabulary.table[self.nearest(vectors).ids]
        return replaced
