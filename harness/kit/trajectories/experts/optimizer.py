"""An expert's optimizer over one flat vector, whose memory can be taken and put back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

from harness.errors import UsageError
from harness.options import Positive, ShareBelowOne, require_fields

_MEMORIES = {"sgd": ("momentum_buffer",), "adam": ("exp_avg", "exp_avg_sq")}


@dataclass(frozen=True)
class OptimizerMemory:
    """What an optimizer remembers after `step` updates.

    vectors: [k, P], for Adam the first and second moments, not corrected for their start at zero;
    for SGD with momentum its buffer; without momentum k is 0.
    """

    step: int
    vectors: Tensor


@dataclass(frozen=True)
class ExpertOptimizer:
    """SGD with momentum, or Adam (Kingma and Ba 2015), at a constant rate and without decay.

    betas, eps: of Adam; momentum: of SGD.
    """

    kind: Literal["sgd", "adam"] = "sgd"
    learning_rate: Positive = 0.01
    momentum: ShareBelowOne = 0.0
    betas: tuple[ShareBelowOne, ShareBelowOne] = (0.9, 0.999)
    eps: float = 1e-8

    def __post_init__(self) -> None:
        require_fields(self, where="expert optimizer")
        if self.kind == "adam" and self.momentum:
            raise UsageError("an expert trained by Adam has betas and no momentum")

    @property
    def memories(self) -> tuple[str, ...]:
        """torch's names of the vectors that it remembers."""
        return _MEMORIES[self.kind] if self.kind == "adam" or self.momentum else ()

    def build(self, theta: nn.Parameter) -> Optimizer:
        """torch's optimizer of a flat vector [P], without memory."""
        if self.kind == "adam":
            return Adam([theta], lr=self.learning_rate, betas=self.betas, eps=self.eps)
        return SGD([theta], lr=self.learning_rate, momentum=self.momentum)

    def take(self, optimizer: Optimizer, theta: nn.Parameter, step: int) -> OptimizerMemory:
        """A copy of its memory, on the CPU; zeros before the first update."""
        state = optimizer.state.get(theta, {})
        vectors = torch.zeros(len(self.memories), len(theta), dtype=theta.dtype)
        for vector, name in zip(vectors, self.memories, strict=True):
            if state.get(name) is not None:
                vector.copy_(state[name])
        return OptimizerMemory(step, vectors)

    def put(self, optimizer: Optimizer, theta: nn.Parameter, memory: OptimizerMemory) -> None:
        """Gives a memory back, so that training goes on as if never interrupted."""
        vectors = memory.vectors.to(theta.device, theta.dtype)
        state = {n: v.clone() for n, v in zip(self.memories, vectors, strict=True)}
        if self.kind == "adam":
            state["step"] = torch.tensor(float(memory.step))
        optimizer.state[theta] = state
