"""Nearest rows of a vocabulary, block by block, with exact ties.

A block's distances come from one matrix product in float32. Its rounding depends on how the
vocabulary is cut, so every row that may be nearest, by a bound on that rounding, is measured
again in float64, and the lowest id wins among equals: the answer depends neither on the blocks
nor on the order of sums.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from harness.errors import HarnessError, UsageError
from harness.kit.trajectories.token_projection.allowed import AllowedTokens

Metric = Literal["l2", "cosine"]

_BLOCK_VALUES = 1 << 22
"""Products, or coordinates measured again, that are held at once: 16 MiB of float32."""


@dataclass(frozen=True)
class NearestTokens:
    """ids: [n] int64; distances: [n] float64, Euclidean, or one minus the cosine."""

    ids: Tensor
    distances: Tensor
    metric: Metric

    @property
    def mean_distance(self) -> float:
        return float(self.distances.mean())

    def changed_share(self, initial: Tensor) -> float:
        """The share of [n] initial ids that another token is nearest to by now."""
        if initial.shape != self.ids.shape:
            raise UsageError(f"{len(initial)} initial ids for {len(self.ids)} nearest tokens")
        return float((initial.to(self.ids.device) != self.ids).double().mean())


@torch.no_grad()
def nearest_tokens(
    vectors: Tensor,
    table: Tensor,
    allowed: AllowedTokens,
    *,
    metric: Metric = "l2",
) -> NearestTokens:
    """The nearest allowed row of `table` for each vector; the lowest id among equals.

    By the cosine, rows of zeros are never nearest.

    Args:
        vectors: [n, d]; table: [vocabulary, d], on the same device.

    Raises:
        UsageError: shapes do not fit, or a vector of zeros has no cosine.
        HarnessError: a value is NaN or infinite.
    """
    _check(vectors, table, allowed, metric)
    ids = allowed.ids.to(table.device)
    if metric == "cosine":
        ids = ids[(table[ids] != 0).any(1)]
        if not len(ids):
            raise UsageError("every allowed row is zero, so none has a cosine")
    size = max(1, _BLOCK_VALUES // max(len(vectors), table.shape[1]))
    search = _Search(vectors, metric)
    for start in range(0, len(ids), size):
        part = ids[start : start + size]
        search.look(table[part], part)
    return NearestTokens(search.ids, search.distances(), metric)


class _Search:
    """The best tokens so far of all vectors, over blocks of ascending ids."""

    def __init__(self, vectors: Tensor, metric: Metric) -> None:
        self._metric = metric
        self._exact = self._pointed(vectors.double())
        self._vectors = self._exact.to(torch.promote_types(vectors.dtype, torch.float32))
        self._norms = self._vectors.square().sum(1)
        count, device = len(vectors), vectors.device
        self._bounds = torch.full((count,), torch.inf, device=device, dtype=torch.float64)
        self._best = self._bounds.clone()
        self.ids = torch.full((count,), -1, dtype=torch.int64, device=device)

    def look(self, rows: Tensor, ids: Tensor) -> None:
        """Takes the rows [b, d] of ids [b] into account."""
        near = self._pointed(rows.to(self._vectors.dtype))
        norms = near.square().sum(1)
        if not bool(torch.isfinite(norms).all()):
            raise HarnessError("the vocabulary's table holds NaN or infinity")
        rough = torch.addmm(norms, self._vectors, near.T, alpha=-2).add_(self._norms[:, None])
        error = self._error(norms)
        least = rough.min(1).values.double()
        self._bounds = torch.minimum(self._bounds, least + error)
        limit = self._bounds + error
        near_enough = (least <= limit).nonzero().flatten()
        owner, row = (rough[near_enough] <= limit[near_enough, None]).nonzero().unbind(1)
        size = max(1, _BLOCK_VALUES // rows.shape[1])
        for owners, places in zip(near_enough[owner].split(size), row.split(size), strict=True):
            self._measure(rows[places], ids[places], owners)

    def distances(self) -> Tensor:
        """[n] in the metric's own unit."""
        return self._best.sqrt() if self._metric == "l2" else self._best / 2

    def _error(self, norms: Tensor) -> Tensor:
        """[n] more than rounding can change a squared distance from the matrix product."""
        unit = torch.finfo(norms.dtype).eps
        lengths = self._norms.double().sqrt() + norms.max().double().sqrt()
        return 2 * (self._vectors.shape[1] + 4) * unit * lengths.square()

    def _measure(self, rows: Tensor, ids: Tensor, owner: Tensor) -> None:
        """Squared distances, exactly, of vectors owner [p] to rows [p, d] of ids [p]."""
        found = (self._exact[owner] - self._pointed(rows.double())).square().sum(1)
        best = self._best.scatter_reduce(0, owner, found, "amin")
        ties = found == best[owner]
        lowest = torch.where(best < self._best, torch.iinfo(torch.int64).max, self.ids)
        # A tie with an earlier block keeps that block's id, which is lower.
        self.ids = lowest.scatter_reduce(0, owner[ties], ids[ties], "amin")
        self._best = best

    def _pointed(self, vectors: Tensor) -> Tensor:
        """As the metric compares them: by the cosine, all of length one."""
        if self._metric == "l2":
            return vectors
        return vectors / vectors.norm(dim=1, keepdim=True)


def _check(vectors: Tensor, table: Tensor, allowed: AllowedTokens, metric: str) -> None:
    if metric not in ("l2", "cosine"):
        raise UsageError(f"unknown metric '{metric}'", hint="Known: l2, cosine.")
    if vectors.dim() != 2 or not len(vectors) or vectors.shape[1:] != table.shape[1:]:
        raise UsageError(
            f"vectors of shape {list(vectors.shape)} for a table of {list(table.shape)}"
        )
    if allowed.vocabulary != len(table):
        raise UsageError(
            f"allowed tokens of a vocabulary of {allowed.vocabulary} for a table of {len(table)}"
        )
    if not bool(torch.isfinite(vectors).all()):
        raise HarnessError(
            "an embedding is NaN or infinite, so it has no nearest token",
            hint="Its optimisation diverged; lower its learning rate.",
        )
    if metric == "cosine" and not bool((vectors != 0).any(1).all()):
        raise UsageError("a vector of zeros has no cosine", hint="Use the metric l2.")
