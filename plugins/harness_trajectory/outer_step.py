"""The outer loop: vectors and a step size learned by Adam, resumable after every few seconds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from harness.context import StageContext
from harness.errors import DivergenceError
from harness.kit.files.checkpoint import Checkpoint
from harness.kit.trajectories.inner_loop.engines import (
    ENGINES,
    OuterGradient,
    OuterLoss,
    disagreement,
)
from harness.kit.trajectories.inner_loop.optimizers import InnerState
from harness.kit.trajectories.inner_loop.regularisers import Strength, neighbour_pull, norm_pull
from harness.kit.trajectories.inner_loop.steps import InnerLoop, Learned
from harness.kit.trajectories.outer_loop import adam_step
from harness.kit.trajectories.proxies import Trainable
from harness.kit.trajectories.pseudo_rows import EMBEDDINGS
from harness.kit.trajectories.token_projection import NearestTokens, nearest_tokens
from harness.kit.trajectories.words import Vocabulary
from harness_trajectory.expert_segments import Passages
from harness_trajectory.options import TrajectoryOptions

SAVE_SECONDS = 20.0
"""Between two notes of where the loop stands: what a kill may lose."""

EXPLODED = 1e4
"""A matching loss that is taken for a diverged inner loop; not moving at all has the loss 1."""

CURVES = ("loss", "pull", "step_size", "gradient_norm")
_LEAVES = ("vectors", "rho")


@dataclass
class Learnt:
    """Where the outer loop stands.

    vectors: [m, longest, d]; rho: [] logarithm of the step size; moments: Adam's, two of each;
    good: vectors and rho for which an inner loop last stayed finite; neighbours: [k] ids nearest
    to the learned vectors when they were last looked for;
    curves: a value for each step done; diverged: the step at which it was stopped, or -1.
    """

    vectors: Tensor
    rho: Tensor
    moments: dict[str, tuple[Tensor, Tensor]]
    good: tuple[Tensor, Tensor]
    neighbours: Tensor
    curves: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in CURVES})
    steps: int = 0
    diverged: int = -1

    @property
    def step_size(self) -> Tensor:
        return self.rho.exp()

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything, for a file."""
        found = {"vectors": self.vectors, "rho": self.rho, "neighbours": self.neighbours}
        found |= {"good vectors": self.good[0], "good rho": self.good[1]}
        for name, (first, second) in self.moments.items():
            found |= {f"first {name}": first, f"second {name}": second}
        arrays = {name: tensor.reshape(-1).cpu().numpy() for name, tensor in found.items()}
        curves = {f"curve {name}": np.array(values) for name, values in self.curves.items()}
        numbers = np.array([self.steps, self.diverged, *self.vectors.shape])
        return {**arrays, **curves, "numbers": numbers}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray], device: torch.device) -> Learnt:
        """What `arrays` gave."""
        steps, diverged, *shape = arrays["numbers"].tolist()
        shapes = {"vectors": shape, "rho": [], "neighbours": [-1]}

        def tensor(name: str) -> Tensor:
            return torch.tensor(arrays[name], device=device).reshape(shapes[name.split()[-1]])

        return cls(
            vectors=tensor("vectors"),
            rho=tensor("rho"),
            moments={n: (tensor(f"first {n}"), tensor(f"second {n}")) for n in _LEAVES},
            good=(tensor("good vectors"), tensor("good rho")),
            neighbours=tensor("neighbours"),
            curves={name: arrays[f"curve {name}"].tolist() for name in CURVES},
            steps=steps,
            diverged=diverged,
        )


@dataclass(frozen=True)
class Learning:
    """Learns the vectors of some rows."""

    passages: Passages
    rows: Trainable
    vocabulary: Vocabulary
    options: TrajectoryOptions
    context: StageContext

    def start(self) -> Learnt:
        """Before any step."""
        vectors = self.rows.pseudo.initial(self.passages.proxy.view)
        rho = vectors.new_tensor(self.options.first_step_size).log()
        leaves = {"vectors": vectors, "rho": rho}
        moments = {n: (torch.zeros_like(t), torch.zeros_like(t)) for n, t in leaves.items()}
        return Learnt(vectors, rho, moments, (vectors, rho), self.nearest(vectors).ids)

    def run(self, checkpoint: Checkpoint) -> Learnt:
        """All steps, or those that an earlier attempt left undone.

        A diverging inner loop ends the run at the last vectors whose inner loop did not.

        Raises:
            DivergenceError: the very first one did.
        """
        kept = checkpoint.read()
        state = Learnt.of_arrays(kept, self.rows.pseudo.device) if kept else self.start()
        for step in self._steps(state):
            try:
                state = self.step(state, step)
            except DivergenceError as error:
                if step == 0:
                    raise DivergenceError(
                        f"trajectory: {error.message} before anything was learned",
                        hint="Lower step_size, or inner_steps.",
                    ) from error
                vectors, rho = state.good
                state = replace(state, vectors=vectors, rho=rho, diverged=step)
                break
            if checkpoint.due():
                checkpoint.write(state.arrays())
        checkpoint.write(state.arrays())
        return state

    def step(self, state: Learnt, step: int) -> Learnt:
        """One update of the vectors and of the step size; draws depend on its number alone.

        Raises:
            DivergenceError: the inner loop left the finite numbers, or ended far away.
        """
        found = self._gradient(state, step)
        if found.loss > EXPLODED:
            raise DivergenceError(f"the matching loss is {found.loss:.3g}")
        options = self.options
        looked = step % options.refresh == 0
        neighbours = self.nearest(state.vectors).ids if looked else state.neighbours
        pull, slope = self._pull(state.vectors, neighbours, step)
        gradients = {
            "vectors": found.learned[EMBEDDINGS] + slope,
            "rho": state.rho.new_tensor(found.log_step_size),
        }
        coordinate = (self.vocabulary.mean_square / state.vectors.shape[-1]) ** 0.5
        rates = {
            "vectors": options.learning_rate * coordinate,
            "rho": options.step_learning_rate,
        }
        leaves, moments = {"vectors": state.vectors, "rho": state.rho}, {}
        for name in _LEAVES:
            leaf, gradient = leaves[name], gradients[name]
            leaves[name], moments[name] = adam_step(
                leaf, gradient, state.moments[name], step + 1, rates[name]
            )
        if options.project_every and (step + 1) % options.project_every == 0:
            leaves["vectors"] = self._projected(leaves["vectors"])
        values = (found.loss, pull, float(state.step_size), float(gradients["vectors"].norm()))
        curves = zip(CURVES, values, strict=True)
        return Learnt(
            vectors=leaves["vectors"],
            rho=leaves["rho"],
            moments=moments,
            good=(state.vectors, state.rho),
            neighbours=neighbours,
            curves={name: [*state.curves[name], value] for name, value in curves},
            steps=step + 1,
        )

    def nearest(self, vectors: Tensor) -> NearestTokens:
        """The allowed tokens nearest to the k learned vectors."""
        return nearest_tokens(
            vectors[self.rows.pseudo.mask],
            self.vocabulary.table,
            self.vocabulary.allowed,
            metric=self.options.metric,
        )

    def disagreement(self, state: Learnt) -> float:
        """How far the engine's first gradient is from the unrolled one, relative to its length."""
        return disagreement(*self._problem(state, 0), engines=(self.options.engine, "unroll"))

    def _gradient(self, state: Learnt, step: int) -> OuterGradient:
        return ENGINES[self.options.engine](*self._problem(state, step))

    def _problem(
        self, state: Learnt, step: int
    ) -> tuple[InnerLoop, InnerState, Learned, Tensor, OuterLoss]:
        """What an engine is asked in a step."""
        generator = self.context.numpy_generator("trajectory draw", step)
        segment = self.passages.draw(generator)
        loop = self.passages.loop(self.rows.loss, len(self.rows.pseudo), generator)
        outer = self.passages.passage(segment).loss(self.options.loss)
        learned = {EMBEDDINGS: state.vectors}
        return loop, self.passages.start(segment), learned, state.rho, outer

    def _pull(self, vectors: Tensor, neighbours: Tensor, step: int) -> tuple[float, Tensor]:
        """The regulariser, weighted, and its gradient."""
        options = self.options
        if options.regulariser == "none" or options.strength == 0:
            return 0.0, torch.zeros_like(vectors)
        weight = Strength(options.strength, options.schedule).at(step, options.outer_steps)
        leaf = vectors.detach().requires_grad_()
        own = leaf[self.rows.pseudo.mask]
        unit = self.vocabulary.mean_square
        if options.regulariser == "neighbour":
            pull = neighbour_pull(own, self.vocabulary.table[neighbours]) / unit
        else:
            pull = norm_pull(own, own.new_tensor(unit).sqrt())
        (slope,) = torch.autograd.grad(weight * pull, leaf)
        return weight * float(pull.detach()), slope

    def _projected(self, vectors: Tensor) -> Tensor:
        """Every learned vector replaced by its nearest word's."""
        replaced = vectors.clone()
        replaced[self.rows.pseudo.mask] = self.vocabulary.table[self.nearest(vectors).ids]
        return replaced

    def _steps(self, state: Learnt) -> Iterator[int]:
        """The numbers of the steps that are left."""
        if state.diverged >= 0:
            return
        steps = range(state.steps, self.options.outer_steps)
        yield from self.context.track(steps, "matching trajectories", total=len(steps))
