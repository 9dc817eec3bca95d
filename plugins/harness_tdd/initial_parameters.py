"""Initial parameters of students: the proxy's checkpoint, each time with another head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from harness.context import StageContext
from harness.errors import UsageError
from harness.kit.text.classifier import TextStudent
from harness.kit.trajectories.proxies import ClassifierProxy


@dataclass
class InitialParameters:
    """Where inner loops begin: fresh students as flat parameters, built once each.

    heads: how many different ones are learned from; 0 for a new one in every outer step.
    """

    student: TextStudent
    proxy: ClassifierProxy
    context: StageContext
    heads: int
    _drawn: dict[tuple[str, int], Mapping[str, Tensor]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        named = self.proxy.layout.parameters(self.proxy.model).values()
        if not any(self.proxy.classifier.head.weight is parameter for parameter in named):
            raise UsageError(
                "tdd: the head is not among the trained parameters, and every start has another",
                hint="Add it to `parameters`, as in '*.layer.5.*,classifier.*'.",
            )
        self._first = self.proxy.layout.split(self.proxy.view.start())

    def learned_from(self, step: int) -> Tensor:
        """[P] of an outer step; every head is used as often as any other."""
        return self._parameters("tdd head", step % self.heads if self.heads else step)

    def measured_on(self, number: int) -> Tensor:
        """[P] that are never learned from."""
        return self._parameters("tdd measured head", number)

    def _parameters(self, use: str, number: int) -> Tensor:
        key = (use, number)
        drawn = self._drawn.get(key)
        if drawn is None:
            drawn = self._draw(use, number)
            if self.heads:
                self._drawn[key] = drawn
        return self.proxy.layout.flatten({**self._first, **drawn})

    def _draw(self, use: str, number: int) -> dict[str, Tensor]:
        """What a fresh student has other values for than the proxy."""
        own = replace(self.context, seed=self.context.seed_for(use, number))
        length = self.proxy.classifier.max_length
        fresh = dict(
            self.student.build(self.proxy.task, own, max_length=length).model.named_parameters()
        )
        return {
            name: fresh[name].detach()
            for name, known in self._first.items()
            if not torch.equal(fresh[name], known)
        }
