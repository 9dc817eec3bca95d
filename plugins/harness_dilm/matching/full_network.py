"""Gradients of named parameters of a classifier, and losses along a direction (torch.func)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call, jvp, vjp
from torch.nn.attention import SDPBackend, sdpa_kernel

from harness.kit.text.classifier import TextClassifier
from harness.kit.training.batching import EncodedRows, group_overhead, length_groups
from harness_dilm.matching.similarity import Leaves, Match, align

GROUP_ROWS = 64


@dataclass(frozen=True)
class NetworkBatch:
    """Rows of one class under a learner's present weights.

    names: the parameters whose gradients are taken. Memory is that of one group of rows and a
    few gradients; nothing is differentiated twice.
    """

    classifier: TextClassifier
    names: tuple[str, ...]
    rows: EncodedRows
    label: int

    def gradient(self, weights: Tensor) -> Leaves:
        """sum_i w_i of the samples' gradients, one leaf a parameter, in the order of `names`."""
        primals = self._primals()
        total = tuple(torch.zeros_like(primal) for primal in primals)
        for group in self._groups():
            chosen = torch.from_numpy(group).to(weights.device)
            _, pull = vjp(self._losses(group), *primals)
            for leaf, part in zip(total, pull(weights[chosen]), strict=True):
                leaf += part
        return total

    def along(self, direction: Leaves) -> Tensor:
        """[n] derivatives of the samples' losses along a direction in parameter space."""
        primals = self._primals()
        derivatives = primals[0].new_empty(len(self.rows))
        for group in self._groups():
            # The fused attention kernels have no forward-mode derivative.
            with sdpa_kernel(SDPBackend.MATH):
                _, tangent = jvp(self._losses(group), primals, direction)
            derivatives[torch.from_numpy(group).to(derivatives.device)] = tangent
        return derivatives

    def mean_gradient(self) -> Leaves:
        """The gradient of the mean loss."""
        count = len(self.rows)
        return self.gradient(self._primals()[0].new_full((count,), 1.0 / count))

    def match(self, real: Leaves, weights: Tensor) -> Match:
        """This batch, weighted, against the gradient of a real one."""
        alignment = align(real, self.gradient(weights.to(real[0])))
        return Match(alignment, self.along(alignment.direction))

    def _primals(self) -> Leaves:
        parameters = dict(self.classifier.model.named_parameters())
        return tuple(parameters[name].detach() for name in self.names)

    def _groups(self) -> list[np.ndarray]:
        overhead = group_overhead(self.classifier.device)
        return length_groups(self.rows.lengths, GROUP_ROWS, overhead=overhead)

    def _losses(self, group: np.ndarray) -> Callable[..., Tensor]:
        """The samples' cross-entropies as a function of the named parameters."""
        classifier = self.classifier
        inputs = self.rows.pad(group, classifier.pad_id, classifier.device)
        targets = torch.full((len(group),), self.label, device=classifier.device)

        def losses(*primals: Tensor) -> Tensor:
            named = dict(zip(self.names, primals, strict=True))
            logits = functional_call(classifier.model, named, args=(), kwargs=inputs).logits
            return F.cross_entropy(logits, targets, reduction="none")

        return losses


def matched_parameters(classifier: TextClassifier, match: str) -> tuple[str, ...]:
    """Names of the parameters whose gradients are compared: the last linear layer's, or all.

    The head is one linear layer in every family: `classifier` in BERT, `classifier.out_proj` in
    RoBERTa, `logits_proj` in XLNet; what stands before it (a pooler, a summary) is not part.
    """
    named = dict(classifier.model.named_parameters())
    if match == "full":
        return tuple(named)
    head = set(classifier.head.parameters())
    return tuple(name for name, parameter in named.items() if parameter in head)
