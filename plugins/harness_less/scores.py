"""Influence scores of the pool's rows: exact, or from stored features."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

import numpy as np
from torch import Tensor

from harness.context import StageContext
from harness.kit.files.computed_once import computed_once
from harness.kit.gradients.column_blocks import products
from harness_less.checkpoints import Checkpoint
from harness_less.features import FlawDetector, GradientSource, TrainingFeatures
from harness_less.flaws import FINE, NOT_FINITE, ZERO
from harness_less.options import LessOptions
from harness_less.rows import DistinctRows, Target
from harness_less.target_gradients import TargetGradients

SAMPLE_ROWS = 64
_PIECE_ROWS = 256


@dataclass(frozen=True)
class RowScores:
    """scores: [m] of distinct rows, -inf where flaws, [m], is not `FINE`."""

    scores: np.ndarray
    flaws: np.ndarray


@dataclass(frozen=True)
class ScoringInputs:
    """What all ways of scoring need.

    usable: [target rows] that count; folder: where pieces are kept for a run that is killed.
    """

    options: LessOptions
    source: GradientSource
    pool: DistinctRows
    target: Target
    checkpoints: Sequence[Checkpoint]
    usable: np.ndarray
    folder: Path
    context: StageContext

    @property
    def weights(self) -> np.ndarray:
        """[checkpoints] that sum to 1."""
        rates = [checkpoint.mean_rate for checkpoint in self.checkpoints]
        return checkpoint_weights(rates, self.options.checkpoint_weights)

    def training(self, number: int) -> TrainingFeatures:
        """Loads a checkpoint."""
        checkpoint = self.checkpoints[number]
        features = TrainingFeatures.at(checkpoint, self.source, self.options.features)
        return (
            features.centred(self.pool.encoded, self.sample) if self.options.centred else features
        )

    @cached_property
    def sample(self) -> np.ndarray:
        """Rows of the pool that stand for all of them where a look at some is enough."""
        generator = self.context.numpy_generator("less sample")
        return generator.permutation(len(self.pool))[:SAMPLE_ROWS]


def checkpoint_weights(rates: Sequence[float], kind: Literal["lr", "uniform"]) -> np.ndarray:
    """The mean learning rates of the checkpoints' epochs, or ones, scaled to sum 1."""
    weights = np.asarray(rates if kind == "lr" else np.ones(len(rates)), dtype=np.float64)
    return weights / weights.sum()


def exact_scores(work: ScoringInputs) -> RowScores:
    """Products of every row's feature with one direction a subtask, divided by its length.

    sum_t w_t cos(Gamma_t(z), v_t), without projection and without keeping a feature.
    """
    rows = len(work.pool)
    by_subtask = np.zeros((rows, len(work.target.subtasks)))
    flaws = np.full(rows, FINE, dtype=np.uint8)
    pieces = list(_pieces(work.source.groups(work.pool.encoded)))
    for number, share in enumerate(work.weights):
        moment = _ExactMoment(work, number)
        label = f"influence at checkpoint {number + 1} of {len(work.checkpoints)}"
        for piece, groups in enumerate(work.context.track(pieces, label, total=len(pieces))):
            path = work.folder / f"cosines-{number}-{piece}.safetensors"
            found = computed_once(path, partial(moment.cosines, groups))
            members = np.concatenate(groups)
            by_subtask[members] += share * np.where(
                found["flaws"][:, None] == FINE, found["cosines"], 0.0
            )
            flaws[members] = np.where(flaws[members] == FINE, found["flaws"], flaws[members])
    best = by_subtask.max(1) if work.options.subtasks == "max" else by_subtask.mean(1)
    return RowScores(np.where(flaws == FINE, best, -np.inf), flaws)


@dataclass(frozen=True)
class _ExactMoment:
    """A checkpoint that is loaded when the first piece needs it."""

    work: ScoringInputs
    number: int

    @cached_property
    def _ready(self) -> tuple[TrainingFeatures, Tensor]:
        features = self.work.training(self.number)
        target = TargetGradients(self.work.source, self.work.target)
        return features, target.directions(self.work.usable, self.work.options.aggregation)

    def cosines(self, groups: Sequence[np.ndarray]) -> Mapping[str, np.ndarray]:
        """cosines [b, subtasks] and flaws [b] of the rows of some groups, in their order."""
        features, directions = self._ready
        found = [group_cosines(features, self.work.pool, group, directions) for group in groups]
        return {
            "cosines": np.concatenate([cosines for cosines, _ in found]),
            "flaws": np.concatenate([flaws for _, flaws in found]),
        }


def group_cosines(
    features: TrainingFeatures, pool: DistinctRows, members: np.ndarray, directions: Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """[b, subtasks] products of the rows' unit features with the directions, and flaws [b]."""
    health = FlawDetector()
    dots, squares = products(features.blocks(pool.encoded, members, health), directions)
    flaws = health.flaws()
    lengths = squares.double().sqrt()
    cosines = (dots.double() / lengths.unsqueeze(1)).cpu().numpy()
    flaws[(flaws == FINE) & (lengths == 0).cpu().numpy()] = ZERO
    flaws[(flaws == FINE) & ~np.isfinite(cosines).all(axis=1)] = NOT_FINITE
    return cosines, flaws


def _pieces(groups: Sequence[np.ndarray]) -> Iterator[list[np.ndarray]]:
    """Neighbouring groups of about `_PIECE_ROWS` rows together."""
    piece: list[np.ndarray] = []
    for group in groups:
        piece.append(group)
        if sum(map(len, piece)) >= _PIECE_ROWS:
            yield piece
            piece = []
    if piece:
        yield piece
