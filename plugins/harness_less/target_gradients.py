"""The target's gradients at a checkpoint: usable rows, one direction a subtask."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from harness.errors import HarnessError
from harness.kit.gradients.column_blocks import ColumnBlock
from harness.kit.gradients.influence import Aggregation
from harness.kit.gradients.projection.projector import Projector
from harness_less.features import FlawDetector, GradientSource, unit_rows
from harness_less.flaws import FINE
from harness_less.rows import Target


@dataclass(frozen=True)
class TargetGradients:
    """Plain gradients of the target's rows, at the weights that the source has loaded."""

    source: GradientSource
    target: Target

    def examine(self) -> tuple[np.ndarray, float]:
        """What is wrong with each row, [m], and the share of coordinates that are zero in all.

        With B of an adapter still zero no gradient reaches A: before any training half of the
        coordinates and more say nothing.
        """
        flaws = np.empty(len(self.target.encoded), dtype=np.uint8)
        alive = torch.zeros(self.source.layout.size, dtype=torch.bool, device=self._device)
        for members, values, own in self._matrices(verify=True):
            flaws[members] = own
            alive |= (values != 0).any(0)
        return flaws, 1.0 - float(alive.double().mean())

    def directions(self, usable: np.ndarray, aggregation: Aggregation) -> Tensor:
        """[subtasks, P]: a unit row's product with one of these is its score for a subtask.

        The same as `harness.kit.gradients.influence.target_directions`, without holding all rows
        at once.

        Args:
            usable: [m] the rows that count.

        Raises:
            HarnessError: no row of a subtask counts, or their mean is zero.
        """
        shares = torch.from_numpy(_shares(self.target.subtasks, usable)).to(self._device)
        total = torch.zeros(len(shares), self.source.layout.size, device=self._device)
        for members, values, _ in self._matrices():
            kept = usable[members]
            rows = values[torch.from_numpy(kept)]
            if len(rows):
                unit = unit_rows(rows) if aggregation == "mean_of_cosines" else rows
                total += shares[:, torch.from_numpy(members[kept])].to(unit) @ unit
        for name, line in zip(self.target.subtasks, total, strict=True):
            if not bool(line.any()):
                raise HarnessError(f"the gradients of subtask '{name}' have no common direction")
        return unit_rows(total) if aggregation == "cosine_of_mean" else total

    def projected(self, projector: Projector) -> np.ndarray:
        """[m, outputs] features; rows without a gradient are zero or not finite."""
        found = np.empty((len(self.target.encoded), projector.outputs), dtype=np.float32)
        for members, values, _ in self._matrices():
            found[members] = projector.project_blocks([ColumnBlock(0, values)]).cpu().numpy()
        return found

    @property
    def _device(self) -> torch.device:
        return self.source.lm.device

    def _matrices(self, *, verify: bool = False) -> Iterator[tuple[np.ndarray, Tensor, np.ndarray]]:
        """Rows, their gradients [b, P] and what is wrong with them, group by group."""
        rows = self.target.encoded
        backend = self.source.backend(verify=verify)
        for members in self.source.tracked(rows, "gradients of the target"):
            health = FlawDetector()
            blocks = health.watch(backend.blocks(self.source.batch(rows, members)))
            values = torch.cat([block.values for block in blocks], dim=1)
            yield members, values, health.flaws()


def usable_rows(flaws: np.ndarray, subtasks: dict[str, list[int]]) -> np.ndarray:
    """[m] rows that are fine at every checkpoint.

    Args:
        flaws: [checkpoints, m].

    Raises:
        HarnessError: a subtask has no such row.
    """
    usable = np.asarray((flaws == FINE).all(axis=0))
    for name, rows in subtasks.items():
        if not usable[rows].any():
            raise HarnessError(
                f"subtask '{name}' has no direction: the gradients of all {len(rows)} examples"
                " are zero or not finite"
            )
    return usable


def _shares(subtasks: dict[str, list[int]], usable: np.ndarray) -> np.ndarray:
    """[subtasks, m] float32, what each row counts for the mean of each subtask."""
    shares = np.zeros((len(subtasks), len(usable)), dtype=np.float32)
    for line, rows in zip(shares, subtasks.values(), strict=True):
        own = [row for row in rows if usable[row]]
        line[own] = 1.0 / len(own)
    return shares
