"""The state of an Adam optimizer, by parameter name: taken, stored and put back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from harness.kit.files.named_arrays import prefixed, without_prefix


@dataclass(frozen=True)
class AdamMemory:
    """Moments and steps by parameter name; a parameter that was never updated is left out.

    first, second: of each parameter's shape; steps: the updates that it has seen.
    """

    first: Mapping[str, np.ndarray]
    second: Mapping[str, np.ndarray]
    steps: Mapping[str, int]

    @classmethod
    def of(cls, optimizer: Optimizer, parameters: Mapping[str, Tensor]) -> AdamMemory:
        """The memory of a live `Adam` or `AdamW`; on a CPU its arrays change with the optimizer."""
        states = {
            name: optimizer.state[p] for name, p in parameters.items() if p in optimizer.state
        }
        return cls(
            first={name: state["exp_avg"].cpu().numpy() for name, state in states.items()},
            second={name: state["exp_avg_sq"].cpu().numpy() for name, state in states.items()},
            steps={name: int(state["step"]) for name, state in states.items()},
        )

    def put(self, optimizer: Optimizer, parameters: Mapping[str, Tensor]) -> None:
        """Gives an optimizer its memory back, so that it goes on as if never interrupted."""
        for name, step in self.steps.items():
            parameter = parameters[name]
            optimizer.state[parameter] = {
                "step": torch.tensor(float(step), device=parameter.device),
                "exp_avg": torch.tensor(self.first[name], device=parameter.device),
                "exp_avg_sq": torch.tensor(self.second[name], device=parameter.device),
            }

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything under names, for a file."""
        steps = {name: np.array([step]) for name, step in self.steps.items()}
        return {
            **prefixed("first", self.first),
            **prefixed("second", self.second),
            **prefixed("steps", steps),
        }

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray]) -> AdamMemory:
        """What `arrays` gave."""
        steps = without_prefix("steps", arrays)
        return cls(
            first=without_prefix("first", arrays),
            second=without_prefix("second", arrays),
            steps={name: int(array[0]) for name, array in steps.items()},
        )
