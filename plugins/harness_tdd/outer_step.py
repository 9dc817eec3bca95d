"""The outer loop: vectors, soft labels and a step size learned by Adam from real rows' loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from harness.context import StageContext
from harness.errors import DivergenceError
from harness.kit.trajectories.inner_loop.engines import OuterGradient, OuterLoss, adjoint
from harness.kit.trajectories.inner_loop.inner_losses import LABELS
from harness.kit.trajectories.inner_loop.optimizers import Adam, InnerOptimizer, InnerState, Sgd
from harness.kit.trajectories.inner_loop.steps import InnerLoop, Learned
from harness.kit.trajectories.outer_loop import adam_step
from harness.kit.trajectories.proxies import Trainable
from harness.kit.trajectories.pseudo_rows import EMBEDDINGS
from harness.kit.trajectories.words import Vocabulary
from harness_tdd.initial_parameters import Starts
from harness_tdd.options import TddOptions
from harness_tdd.real_rows import RealRows

EXPLODED = 100.0
"""A cross-entropy in nats that is taken for a diverged inner loop; not learning has log classes."""

CURVES = ("loss", "step_size", "gradient_norm")
_STEP_SIZE = "log_step_size"


@dataclass(frozen=True)
class Learnt:
    """What was learned.

    vectors: [m, longest, d], zero where nothing is learned; label_logits: [m, classes];
    log_step_size: []; curves: a value for each step done; diverged: the step at which it was
    stopped, or -1.
    """

    vectors: Tensor
    label_logits: Tensor
    log_step_size: Tensor
    curves: Mapping[str, np.ndarray]
    diverged: int = -1

    @property
    def step_size(self) -> Tensor:
        return self.log_step_size.exp()

    @property
    def soft_labels(self) -> np.ndarray:
        """[m, classes] float64 probabilities."""
        return self.label_logits.double().softmax(-1).cpu().numpy()

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything, for a file."""
        return {
            "vectors": self.vectors.cpu().numpy(),
            "label_logits": self.label_logits.cpu().numpy(),
            "log_step_size": self.log_step_size.reshape(1).cpu().numpy(),
            **{f"curve {name}": np.asarray(self.curves[name]) for name in CURVES},
            "diverged": np.array([self.diverged]),
        }

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray], device: torch.device) -> Learnt:
        """What `arrays` gave."""
        return cls(
            vectors=torch.tensor(arrays["vectors"], device=device),
            label_logits=torch.tensor(arrays["label_logits"], device=device),
            log_step_size=torch.tensor(arrays["log_step_size"], device=device).reshape([]),
            curves={name: arrays[f"curve {name}"] for name in CURVES},
            diverged=int(arrays["diverged"][0]),
        )


@dataclass(frozen=True)
class Learning:
    """Learns the vectors and labels of some rows.

    labels: [m] the rows' own classes.
    """

    starts: Starts
    real: RealRows
    rows: Trainable
    labels: Tensor
    vocabulary: Vocabulary
    options: TddOptions
    context: StageContext

    def start(self) -> Learnt:
        """Before any step: the embeddings of the rows' tokens, and their classes, smoothed."""
        vectors = self.rows.pseudo.initial(self.starts.proxy.view)
        classes = len(self.starts.proxy.task.label_names)
        sure = functional.one_hot(self.labels, classes).to(vectors.dtype)
        smooth = self.options.smoothing
        logits = (sure * (1 - smooth) + smooth / classes).log()
        rate = vectors.new_tensor(self.options.step_size).log()
        return Learnt(vectors, logits, rate, {name: np.empty(0) for name in CURVES})

    def run(self) -> Learnt:
        """All steps.

        A diverging inner loop ends the run at the last vectors whose inner loop did not.

        Raises:
            DivergenceError: the very first one did.
        """
        state = good = self.start()
        moments = {n: (torch.zeros_like(t), torch.zeros_like(t)) for n, t in leaves(state).items()}
        rows = []
        steps = range(self.options.outer_steps)
        for step in self.context.track(steps, "learning rows", total=len(steps)):
            try:
                found = self.gradient(state, step)
            except DivergenceError as error:
                if step == 0:
                    raise DivergenceError(
                        f"tdd: {error.message} before anything was learned",
                        hint="Lower step_size, or inner_steps.",
                    ) from error
                state = replace(good, diverged=step)
                break
            norm = float(found.learned[EMBEDDINGS].norm())
            rows.append((found.loss, float(state.step_size), norm))
            good, state = state, self.updated(state, found, moments, step)
        curves = np.array(rows).reshape(-1, len(CURVES)).T
        return replace(state, curves=dict(zip(CURVES, curves, strict=True)))

    def gradient(self, state: Learnt, step: int) -> OuterGradient:
        """Of the loss of a batch of real rows after an inner loop; draws depend on `step` alone.

        Raises:
            DivergenceError: the inner loop left the finite numbers, or ended far away.
        """
        found = adjoint(*self.problem(state, step))
        if found.loss > EXPLODED:
            raise DivergenceError(f"the loss of real rows is {found.loss:.3g}")
        return found

    def problem(
        self, state: Learnt, step: int
    ) -> tuple[InnerLoop, InnerState, Learned, Tensor, OuterLoss]:
        """What an engine is asked in a step."""
        generator = self.context.numpy_generator("tdd draw", step)
        begun = self.optimizer.begin(self.starts.learned_from(step))
        batch = self.real.batch(self.options.real_batch, generator)
        loop = self.loop(self.rows, generator)
        return loop, begun, self.learned(state), state.log_step_size, self.real.loss(batch)

    def updated(
        self,
        state: Learnt,
        found: OuterGradient,
        moments: dict[str, tuple[Tensor, Tensor]],
        step: int,
    ) -> Learnt:
        """One step of Adam; `moments` are replaced."""
        options = self.options
        rest = 1 - step / options.outer_steps if options.decay else 1.0
        coordinate = (self.vocabulary.mean_square / state.vectors.shape[-1]) ** 0.5
        rates = {
            EMBEDDINGS: rest * options.learning_rate * coordinate,
            LABELS: rest * options.label_learning_rate,
            _STEP_SIZE: options.step_learning_rate,
        }
        slopes = {**found.learned, _STEP_SIZE: state.log_step_size.new_tensor(found.log_step_size)}
        moved = leaves(state)
        for name, slope in slopes.items():
            moved[name], moments[name] = adam_step(
                moved[name], slope, moments[name], step + 1, rates[name]
            )
        return replace(
            state,
            vectors=moved[EMBEDDINGS],
            label_logits=moved[LABELS],
            log_step_size=moved[_STEP_SIZE],
        )

    def learned(self, state: Learnt) -> Learned:
        """What the inner loop trains on."""
        labels = {LABELS: state.label_logits} if self.options.soft_labels else {}
        return {EMBEDDINGS: state.vectors, **labels}

    def loop(self, rows: Trainable, generator: np.random.Generator) -> InnerLoop:
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


def leaves(state: Learnt) -> dict[str, Tensor]:
    """What Adam updates, by name."""
    return {
        EMBEDDINGS: state.vectors,
        LABELS: state.label_logits,
        _STEP_SIZE: state.log_step_size,
    }
