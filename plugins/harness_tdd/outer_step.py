"""One outer step: the gradient of real rows' loss after an inner loop on synthetic data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor
from torch.nn import functional

from harness.context import StageContext
from harness.errors import DivergenceError
from harness.kit.trajectories.inner_loop.engines import OuterGradient, OuterLoss, adjoint
from harness.kit.trajectories.inner_loop.inner_losses import LABELS
from harness.kit.trajectories.inner_loop.optimizers import Adam, InnerOptimizer, InnerState, Sgd
from harness.kit.trajectories.inner_loop.steps import InnerLoop, LearnedTensors
from harness.kit.trajectories.outer_loop import OuterState
from harness.kit.trajectories.proxies import LearnableRows, SyntheticData
from harness.kit.trajectories.pseudo_rows import EMBEDDINGS
from harness.kit.trajectories.words import Vocabulary
from harness_tdd.initial_parameters import InitialParameters
from harness_tdd.options import TddOptions
from harness_tdd.real_rows import RealRows

EXPLODED = 100.0
"""A cross-entropy in nats that is taken for a diverged inner loop; not learning has log classes."""

CURVES = ("loss", "step_size", "gradient_norm")
VECTORS, LOG_STEP_SIZE = "vectors", "log_step_size"
"""In the outer state, beside `LABELS`: [m, longest, d], zero where nothing is learned; []."""


@dataclass(frozen=True)
class PerformanceMatching:
    """Lowers the loss of real rows after an inner loop on some synthetic rows.

    labels: [m] the synthetic rows' own classes.
    """

    initial: InitialParameters
    real: RealRows
    rows: LearnableRows
    labels: Tensor
    vocabulary: Vocabulary
    options: TddOptions
    context: StageContext

    def start(self) -> OuterState:
        """Before any step: the embeddings of the rows' tokens, and their classes, smoothed."""
        vectors = self.rows.pseudo.initial(self.initial.proxy.view)
        classes = len(self.initial.proxy.task.label_names)
        sure = functional.one_hot(self.labels, classes).to(vectors.dtype)
        smooth = self.options.smoothing
        learned = {
            VECTORS: vectors,
            LABELS: (sure * (1 - smooth) + smooth / classes).log(),
            LOG_STEP_SIZE: vectors.new_tensor(self.options.step_size).log(),
        }
        return OuterState.initial(learned, CURVES)

    def step(self, state: OuterState) -> OuterState:
        """One update of embeddings, labels and step size.

        Raises:
            DivergenceError: see `gradient`.
        """
        options, found = self.options, self.gradient(state)
        rest = 1 - state.steps / options.outer_steps if options.decay else 1.0
        coordinate = (self.vocabulary.mean_square / state.learned[VECTORS].shape[-1]) ** 0.5
        rates = {
            VECTORS: rest * options.learning_rate * coordinate,
            LABELS: rest * options.label_learning_rate,
            LOG_STEP_SIZE: options.step_learning_rate,
        }
        gradients = dict(found.learned)
        gradients[VECTORS] = gradients.pop(EMBEDDINGS)
        log_step_size = state.learned[LOG_STEP_SIZE]
        gradients[LOG_STEP_SIZE] = log_step_size.new_tensor(found.log_step_size)
        values = (found.loss, float(log_step_size.exp()), float(gradients[VECTORS].norm()))
        return state.updated(gradients, rates, dict(zip(CURVES, values, strict=True)))

    def gradient(self, state: OuterState) -> OuterGradient:
        """Of the loss of a batch of real rows; draws depend on the outer step's number alone.

        Raises:
            DivergenceError: the inner loop left the finite numbers, or ended far away.
        """
        found = adjoint(*self.problem(state))
        if found.loss > EXPLODED:
            raise DivergenceError(f"the loss of real rows is {found.loss:.3g}")
        return found

    def problem(
        self, state: OuterState
    ) -> tuple[InnerLoop, InnerState, LearnedTensors, Tensor, OuterLoss]:
        """What an engine is asked in an outer step."""
        generator = self.context.numpy_generator("tdd draw", state.steps)
        begun = self.optimizer.begin(self.initial.learned_from(state.steps))
        batch = self.real.batch(self.options.real_batch, generator)
        loop = self.inner_loop(self.rows, generator)
        learned, rate = self._learned(state), state.learned[LOG_STEP_SIZE]
        return loop, begun, learned, rate, self.real.loss(batch)

    def synthetic_data(self, state: OuterState) -> SyntheticData:
        """What was learned."""
        rate = state.learned[LOG_STEP_SIZE].exp()
        return SyntheticData(self.rows, self._learned(state), rate)

    def inner_loop(self, rows: LearnableRows, generator: np.random.Generator) -> InnerLoop:
        """Inner steps on shuffled rows, each seen equally often, no batch short."""
        options = self.options
        return InnerLoop.shuffled(
            rows.loss,
            self.optimizer,
            len(rows.pseudo),
            options.inner_batch,
            options.inner_steps,
            generator,
            rows.pseudo.device,
        )

    @property
    def optimizer(self) -> InnerOptimizer:
        return Adam() if self.options.inner_optimizer == "adam" else Sgd()

    def _learned(self, state: OuterState) -> LearnedTensors:
        labels = {LABELS: state.learned[LABELS]} if self.options.soft_labels else {}
        return {EMBEDDINGS: state.learned[VECTORS], **labels}
