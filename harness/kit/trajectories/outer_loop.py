"""The outer loop: synthetic data learned by Adam, one outer step after the other; survives a kill.

A step asks a method for gradients through an inner loop. What it draws should depend on the step's
number alone, so that a resumed loop ends with the bits of an undisturbed one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.context import StageContext
from harness.errors import DivergenceError
from harness.kit.files.resume_point import ResumePoint
from harness.kit.trajectories.inner_loop.optimizers import Adam

SAVE_SECONDS = 20.0
"""Between two resume points: what a kill may cost."""

_ADAM = Adam(0.9, 0.999, 1e-12)


@dataclass(frozen=True)
class OuterState:
    """Where an outer loop stands.

    learned: what Adam updates, by name; moments: Adam's first and second of each; last_finite:
    what was learned when an inner loop last stayed finite; carried: other tensors that a step
    hands to the next; curves: a value for each outer step done; diverged: the outer step that was
    given up, or -1.
    """

    learned: Mapping[str, Tensor]
    moments: Mapping[str, tuple[Tensor, Tensor]]
    last_finite: Mapping[str, Tensor]
    curves: Mapping[str, Sequence[float]]
    carried: Mapping[str, Tensor] = field(default_factory=dict)
    diverged: int = -1

    @classmethod
    def initial(
        cls, learned: Mapping[str, Tensor], curves: Sequence[str], **carried: Tensor
    ) -> OuterState:
        """Before any step. curves: their names."""
        moments = {n: (torch.zeros_like(t), torch.zeros_like(t)) for n, t in learned.items()}
        return cls(learned, moments, learned, {name: [] for name in curves}, carried)

    @property
    def steps(self) -> int:
        """Outer steps done."""
        return len(next(iter(self.curves.values())))

    def updated(
        self,
        gradients: Mapping[str, Tensor],
        rates: Mapping[str, float],
        values: Mapping[str, float],
    ) -> OuterState:
        """After one step of Adam; a gradient of zero moves nothing.

        rates: Adam's, at least for each gradient; values: one for each curve.
        """
        learned, moments = dict(self.learned), dict(self.moments)
        for name, gradient in gradients.items():
            before = _ADAM.resume(learned[name], *moments[name], steps=self.steps)
            after = _ADAM.update(before, gradient, before.theta.new_tensor(rates[name]))
            learned[name], *rest = after.tensors
            moments[name] = (rest[0], rest[1])
        curves = {name: [*known, values[name]] for name, known in self.curves.items()}
        return replace(
            self, learned=learned, moments=moments, last_finite=self.learned, curves=curves
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything, for a file."""
        tensors = {**self.learned, **self.carried}
        tensors |= {f"good {name}": tensor for name, tensor in self.last_finite.items()}
        for name, (first, second) in self.moments.items():
            tensors |= {f"first {name}": first, f"second {name}": second}
        arrays = {n: np.atleast_1d(tensor.cpu().numpy()) for n, tensor in tensors.items()}
        curves = {f"curve {name}": np.array(values) for name, values in self.curves.items()}
        return {**arrays, **curves, "diverged": np.array([self.diverged])}

    def restored(self, arrays: Mapping[str, np.ndarray]) -> OuterState:
        """What `arrays` gave, with the names, shapes and device of this state."""

        def read(name: str, like: Tensor) -> Tensor:
            # Finished loops were once kept without what only a step needs.
            if name not in arrays:
                return like
            return torch.tensor(arrays[name], device=like.device).reshape(like.shape)

        stopped = arrays["diverged"] if "diverged" in arrays else arrays["numbers"][1:]
        return OuterState(
            learned={n: read(n, tensor) for n, tensor in self.learned.items()},
            moments={
                n: (read(f"first {n}", first), read(f"second {n}", second))
                for n, (first, second) in self.moments.items()
            },
            last_finite={n: read(f"good {n}", tensor) for n, tensor in self.last_finite.items()},
            curves={name: arrays[f"curve {name}"].tolist() for name in self.curves},
            carried={n: read(n, tensor) for n, tensor in self.carried.items()},
            diverged=int(stopped[0]),
        )


OuterStep = Callable[[OuterState], OuterState]
"""One more outer step; raises DivergenceError where its inner loop diverges."""


@dataclass(frozen=True)
class OuterLoop:
    """`steps` outer steps from `start`. method: its name, for errors."""

    method: str
    start: OuterState
    step: OuterStep
    steps: int
    context: StageContext

    def shared(self, name: str, inputs: Mapping[str, Any]) -> OuterState:
        """`run`, done once for all stages that ask for it; see `ArrayCache.arrays`."""

        def learn() -> Mapping[str, np.ndarray]:
            path = self.context.workdir / "learning.safetensors"
            return self.run(ResumePoint(path, inputs, SAVE_SECONDS)).arrays()

        return self.start.restored(self.context.cache.arrays(name, inputs, learn))

    def run(self, resume_point: ResumePoint) -> OuterState:
        """All steps, or those that an earlier attempt left undone.

        A diverging inner loop ends it at what was learned when the last one did not.

        Raises:
            DivergenceError: the very first inner loop diverged.
        """
        kept = resume_point.read()
        state = self.start.restored(kept) if kept else self.start
        left = range(state.steps, self.steps) if state.diverged < 0 else range(0)
        for number in self.context.track(left, "outer loop", total=len(left)):
            try:
                state = self.step(state)
            except DivergenceError as error:
                if number == 0:
                    raise DivergenceError(
                        f"{self.method}: {error.message} before anything was learned",
                        hint="Lower step_size, or inner_steps.",
                    ) from error
                state = replace(state, learned=state.last_finite, diverged=number)
                break
            if resume_point.due():
                resume_point.write(state.arrays())
        resume_point.write(state.arrays())
        return state
