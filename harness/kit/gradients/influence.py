"""Influence of training rows on a target: cosines of gradient features, over checkpoints (LESS)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from harness.errors import HarnessError, UsageError

Aggregation = Literal["mean_of_cosines", "cosine_of_mean"]
Reduction = Literal["max", "mean"]

_BLOCK_VALUES = 1 << 22
_DECIMALS = 10


def influence_scores(
    train: Sequence[np.ndarray],
    target: Sequence[np.ndarray],
    subtasks: Mapping[str, Sequence[int]],
    weights: Sequence[float],
    *,
    aggregation: Aggregation = "mean_of_cosines",
    reduction: Reduction = "max",
) -> np.ndarray:
    """[n] float64 scores as in LESS (Xia et al. 2024): sum_t w_t cos(train_t, target_t) by subtask.

    A subtask's score is the mean over its rows of their cosines, or the cosine with the mean of
    its rows; the two are different methods. The final score is the best or the mean subtask's.
    Scores are rounded to 10 decimals, so that equal rows tie wherever they stand; a training row
    that is zero or not finite at some checkpoint has -inf, and such a target row counts nowhere.

    Args:
        train: for each checkpoint [n, k] features, memory-mapped or not; read in blocks.
        target: for each checkpoint [m, k].
        subtasks: target rows of each subtask; a row may be in several, and some in none.
        weights: of the checkpoints, such as their learning rates; scaled to sum 1.

    Raises:
        UsageError: shapes, weights or subtasks do not fit.
        HarnessError: a subtask has no row with a direction.
    """
    shares = _shares(weights, train, target)
    if not subtasks:
        raise UsageError("there is no subtask to score against")
    usable = np.logical_and.reduce([_usable(np.asarray(rows)) for rows in target])
    rows = len(train[0])
    scores = np.zeros((rows, len(subtasks)))
    valid = np.ones(rows, dtype=bool)
    for features, aims, share in zip(train, target, shares, strict=True):
        directions = target_directions(aims, subtasks, aggregation, usable=usable)
        step = max(1, _BLOCK_VALUES // features.shape[1])
        for start in range(0, rows, step):
            block = slice(start, start + step)
            part = np.asarray(features[block], dtype=np.float64)
            valid[block] &= _usable(part)
            unit = _unit(np.where(valid[block, None], part, 0.0))
            scores[block] += share * (unit @ directions.T)
    best = scores.max(axis=1) if reduction == "max" else scores.mean(axis=1)
    return np.where(valid, np.round(best, _DECIMALS), -np.inf)


def target_directions(
    target: np.ndarray,
    subtasks: Mapping[str, Sequence[int]],
    aggregation: Aggregation,
    *,
    usable: np.ndarray | None = None,
) -> np.ndarray:
    """[subtasks, k] float64: a unit row's product with one of these is its score for a subtask.

    mean_j cos(x, v_j) is the product of x's direction with the mean of the v_j's directions, so
    one direction for each subtask replaces all of its rows.

    Args:
        usable: [m] the target rows that count; by default those that are finite and not zero.

    Raises:
        UsageError: a subtask names a row that does not exist, or none.
        HarnessError: no row of a subtask counts, or their mean is zero.
    """
    rows = np.asarray(target, dtype=np.float64)
    counted = _usable(rows) if usable is None else usable
    directions = np.empty((len(subtasks), rows.shape[1]))
    for line, (name, members) in zip(directions, subtasks.items(), strict=True):
        indices = np.asarray(members, dtype=np.int64)
        if not len(indices) or indices.min() < 0 or indices.max() >= len(rows):
            raise UsageError(
                f"subtask '{name}' names no row, or one outside of 0 to {len(rows) - 1}"
            )
        own = rows[indices[counted[indices]]]
        mean = own.mean(axis=0) if len(own) else np.zeros(rows.shape[1])
        if not mean.any():
            raise HarnessError(
                f"subtask '{name}' has no direction: {len(indices) - len(own)} of its"
                f" {len(indices)} rows are zero or not finite"
            )
        line[:] = _unit(own).mean(axis=0) if aggregation == "mean_of_cosines" else _unit(mean)
    return directions


def select_top(scores: np.ndarray, count: int) -> np.ndarray:
    """[count] indices of the highest scores, best first; equal scores by index, ascending.

    Rows whose score is NaN or infinite are never taken.

    Raises:
        UsageError: fewer rows have a score.
    """
    scored = np.flatnonzero(np.isfinite(scores))
    if not 0 <= count <= len(scored):
        raise UsageError(f"{count} rows of the {len(scored)} that have a score")
    order = np.argsort(-scores[scored], kind="stable")
    return scored[order[:count]]


def _shares(
    weights: Sequence[float], train: Sequence[np.ndarray], target: Sequence[np.ndarray]
) -> np.ndarray:
    if not len(weights) == len(train) == len(target) >= 1:
        raise UsageError(
            f"{len(weights)} weights for {len(train)} checkpoints of training and {len(target)}"
            " of target features"
        )
    shapes = [rows.shape for rows in train] + [rows.shape for rows in target]
    if len(set(shapes[: len(train)])) > 1 or len(set(shapes[len(train) :])) > 1:
        raise UsageError(f"the checkpoints' features differ in shape: {shapes}")
    if len({shape[1] for shape in shapes}) > 1:
        raise UsageError(f"training and target features differ in width: {shapes}")
    shares = np.asarray(weights, dtype=np.float64)
    if not np.isfinite(shares).all() or (shares < 0).any() or not shares.any():
        raise UsageError(f"checkpoint weights {list(weights)}: not negative, and not all zero")
    return shares / shares.sum()


def _usable(rows: np.ndarray) -> np.ndarray:
    """[n] rows that have a direction."""
    return np.isfinite(rows).all(axis=1) & rows.any(axis=1)


def _unit(rows: np.ndarray) -> np.ndarray:
    """Rows of length 1; zero stays zero. Scaled first, so that no square is lost or overflows."""
    largest = np.abs(rows).max(axis=-1, keepdims=True)
    scaled = rows / np.where(largest > 0, largest, 1.0)
    lengths = np.linalg.norm(scaled, axis=-1, keepdims=True)
    return scaled / np.where(lengths > 0, lengths, 1.0)
