"""Checkpoints of the warm-up: trained weights, Adam's state, learning rates."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.optim import AdamW

from harness.kit.files.adam_memory import AdamMemory
from harness.kit.gradients.adam_direction import AdamState
from harness.kit.training.parameter_layout import ParameterLayout

_TENSORS = ("weights", "first", "second")


@dataclass(frozen=True)
class Checkpoint:
    """What an epoch leaves, by parameter name.

    weights, first, second: the parameters and Adam's moments of them; steps: the updates that
    each has seen; rates, losses: of every step of the epoch; betas, eps: of the optimiser.
    """

    weights: Mapping[str, np.ndarray]
    first: Mapping[str, np.ndarray]
    second: Mapping[str, np.ndarray]
    steps: Mapping[str, int]
    rates: np.ndarray
    losses: np.ndarray
    betas: tuple[float, float]
    eps: float

    @classmethod
    def take(
        cls,
        model: torch.nn.Module,
        layout: ParameterLayout,
        optimizer: AdamW,
        rates: np.ndarray,
        losses: np.ndarray,
    ) -> Checkpoint:
        """Copies everything from a live model and its optimiser."""
        state = AdamState.of(optimizer, model, layout)
        return cls(
            weights=_copied(layout.parameters(model)),
            first=_copied(layout.split(state.first)),
            second=_copied(layout.split(state.second)),
            steps=dict(zip(layout.names, state.steps, strict=True)),
            rates=rates,
            losses=losses,
            betas=state.betas,
            eps=state.eps,
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything as arrays with names, for a file."""
        found = {
            f"{kind}/{name}": array
            for kind in _TENSORS
            for name, array in getattr(self, kind).items()
        }
        steps = {f"steps/{name}": np.array([step]) for name, step in self.steps.items()}
        adam = np.array([*self.betas, self.eps])
        return {**found, **steps, "rates": self.rates, "losses": self.losses, "adam": adam}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Checkpoint:
        """What `arrays` gave."""
        parts: dict[str, dict[str, np.ndarray]] = {kind: {} for kind in (*_TENSORS, "steps")}
        for key, array in arrays.items():
            kind, _, name = key.partition("/")
            if name:
                parts[kind][name] = array
        b1, b2, eps = (float(value) for value in arrays["adam"])
        return cls(
            weights=parts["weights"],
            first=parts["first"],
            second=parts["second"],
            steps={name: int(array[0]) for name, array in parts["steps"].items()},
            rates=arrays["rates"],
            losses=arrays["losses"],
            betas=(b1, b2),
            eps=eps,
        )

    @property
    def mean_rate(self) -> float:
        """The epoch's mean learning rate, eta of the checkpoint."""
        return float(self.rates.mean())

    @property
    def digest(self) -> str:
        """64 hexadecimal digits over weights and moments."""
        state = hashlib.sha256()
        for key, array in sorted(self.arrays().items()):
            state.update(key.encode() + np.ascontiguousarray(array).tobytes())
        return state.hexdigest()

    def put_weights(self, model: torch.nn.Module, layout: ParameterLayout) -> None:
        """Copies the weights into a model.

        Raises:
            UsageError: names or shapes are not the model's.
        """
        flat = layout.split(layout.flatten(_tensors(self.weights)))
        with torch.no_grad():
            for name, parameter in layout.parameters(model).items():
                parameter.copy_(flat[name])

    def put_moments(
        self, optimizer: AdamW, model: torch.nn.Module, layout: ParameterLayout
    ) -> None:
        """Gives an optimiser its memory back, so that it goes on as if never interrupted."""
        memory = AdamMemory(self.first, self.second, self.steps)
        memory.put(optimizer, layout.parameters(model))

    def adam_state(self, layout: ParameterLayout, device: torch.device) -> AdamState:
        """Adam's memory in the order of a layout, found by name.

        Raises:
            UsageError: names or shapes are not those of the layout.
        """
        return AdamState.named(
            layout,
            {name: tensor.to(device) for name, tensor in _tensors(self.first).items()},
            {name: tensor.to(device) for name, tensor in _tensors(self.second).items()},
            self.steps,
            betas=self.betas,
            eps=self.eps,
        )


def _copied(tensors: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in tensors.items()}


def _tensors(arrays: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
