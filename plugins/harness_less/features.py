"""Gradient features at a checkpoint: gradients of single rows, or Adam's updates for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from harness.context import StageContext
from harness.kit.gradients.adam_direction import AdamState, Formula
from harness.kit.gradients.column_blocks import ColumnBlock, joined
from harness.kit.gradients.per_example.backend import PerExampleGradients
from harness.kit.gradients.per_example.hooks import HookGradients
from harness.kit.gradients.per_example.loop import LoopGradients
from harness.kit.language.causal_lm import CausalLM
from harness.kit.language.labelled_rows import LabelledRows
from harness.kit.language.loss import example_losses
from harness.kit.language.training import take
from harness.kit.training.batching import group_overhead, length_groups, token_limit
from harness.kit.training.parameter_layout import ParameterLayout
from harness_less.checkpoints import Checkpoint
from harness_less.flaws import FINE, NOT_FINITE, ZERO
from harness_less.options import Backend, FeatureKind

_CPU_ROWS, _ACCELERATOR_ROWS = 16, 64
_MATRIX_VALUES = 1 << 28


@dataclass(frozen=True)
class GradientSource:
    """Gradients of rows of a split with respect to the adapters, at the weights that are loaded.

    lm: in eval mode, dropout off; context: shows how far a pass over rows has come.
    """

    lm: CausalLM
    layout: ParameterLayout
    context: StageContext
    gradients: Backend = "hooks"

    def backend(self, *, verify: bool = False) -> PerExampleGradients:
        """verify: compare with autograd where that is possible."""
        parts = (self.lm.model, example_losses, self.layout)
        if self.gradients == "hooks":
            return HookGradients(*parts, verify=verify)
        return LoopGradients(*parts)

    def groups(self, rows: LabelledRows) -> list[np.ndarray]:
        """Which rows are computed at once, so that a matrix of their gradients fits in memory."""
        device = self.lm.device
        most = _CPU_ROWS if device.type == "cpu" else _ACCELERATOR_ROWS
        return length_groups(
            rows.rows.lengths,
            max(1, min(most, _MATRIX_VALUES // self.layout.size)),
            overhead=group_overhead(device),
            max_tokens=token_limit(device),
        )

    def tracked(self, rows: LabelledRows, description: str) -> Iterator[np.ndarray]:
        """`groups` with a bar."""
        groups = self.groups(rows)
        return self.context.track(groups, description, total=len(groups))

    def batch(self, rows: LabelledRows, members: np.ndarray) -> dict[str, Tensor]:
        return rows.batch(members, self.lm.pad_id, self.lm.device)


@dataclass(frozen=True)
class TrainingFeatures:
    """Features of training rows at one checkpoint: what they would change if trained on next.

    state: Adam's memory at the checkpoint; centre: [P] what is subtracted from every feature.
    """

    source: GradientSource
    kind: FeatureKind
    state: AdamState
    centre: Tensor | None = None

    @classmethod
    def at(
        cls, checkpoint: Checkpoint, source: GradientSource, kind: FeatureKind
    ) -> TrainingFeatures:
        """Loads the checkpoint's weights into the source's model."""
        checkpoint.put_weights(source.lm.model, source.layout)
        state = checkpoint.adam_state(source.layout, source.lm.device)
        return cls(source, kind, state)

    def blocks(
        self, rows: LabelledRows, members: np.ndarray, health: FlawDetector
    ) -> Iterator[ColumnBlock]:
        """Columns of the features of some rows; their gradients are looked at in passing.

        Under Adam the feature of a zero gradient is the memory's own step, so only the gradient
        shows that there was nothing to learn.
        """
        gradients = self.source.backend().blocks(self.source.batch(rows, members))
        for block in health.watch(gradients):
            yield self._feature(block)

    def matrix(self, rows: LabelledRows, members: np.ndarray) -> tuple[Tensor, np.ndarray]:
        """Features [b, P] and what is wrong with each gradient, [b]."""
        health = FlawDetector()
        values = joined(self.blocks(rows, members, health), self.source.layout.size)
        return values, health.flaws()

    def centred(self, rows: LabelledRows, members: np.ndarray) -> TrainingFeatures:
        """The same less the mean feature of some rows: without what Adam's momentum adds to all."""
        total = torch.zeros(self.source.layout.size, device=self.source.lm.device)
        count = 0
        for values in self.sound(rows, members):
            total += values.sum(0)
            count += len(values)
        return replace(self, centre=total / max(1, count))

    def sound(self, rows: LabelledRows, members: np.ndarray) -> Iterator[Tensor]:
        """Features [b, P] of those of some rows that have a gradient, group by group."""
        for group in self.source.tracked(take(rows, members), "features of some rows"):
            values, flaws = self.matrix(rows, members[group])
            yield values[torch.from_numpy(flaws == FINE)]

    def _feature(self, gradient: ColumnBlock) -> ColumnBlock:
        feature = gradient
        if self.kind != "sgd":
            formula: Formula = "adam" if self.kind == "adam" else "less"
            feature = self.state.direction(gradient, formula)
        if self.centre is None:
            return feature
        own = self.centre[feature.start : feature.stop]
        return ColumnBlock(feature.start, feature.values - own)


class FlawDetector:
    """Finds rows that are not finite, or zero throughout, while their columns pass by."""

    def __init__(self) -> None:
        self._largest: Tensor | None = None

    def watch(self, blocks: Iterable[ColumnBlock]) -> Iterator[ColumnBlock]:
        for block in blocks:
            own = block.values.abs().amax(1)
            self._largest = own if self._largest is None else torch.maximum(self._largest, own)
            yield block

    def flaws(self) -> np.ndarray:
        """[b] uint8: `FINE`, `NOT_FINITE` or `ZERO`; after all columns have passed."""
        assert self._largest is not None
        largest = self._largest.cpu().numpy()
        flaws = np.full(len(largest), FINE, dtype=np.uint8)
        flaws[largest == 0] = ZERO
        flaws[~np.isfinite(largest)] = NOT_FINITE
        return flaws


def mean_pairwise_cosine(
    features: TrainingFeatures, rows: LabelledRows, members: Sequence[int] | np.ndarray
) -> float:
    """How alike the features of some rows are: the mean of cos over all pairs; 0 for no pair."""
    total = torch.zeros(features.source.layout.size, device=features.source.lm.device)
    count = 0
    for values in features.sound(rows, np.asarray(members)):
        total += unit_rows(values).sum(0)
        count += len(values)
    if count < 2:
        return 0.0
    return float((total.double().square().sum() - count) / (count * (count - 1)))


def unit_rows(rows: Tensor) -> Tensor:
    """Rows of length 1; scaled by their largest value first, so that no square is lost."""
    scaled = rows / rows.abs().amax(1, keepdim=True)
    return scaled / scaled.norm(dim=1, keepdim=True)
