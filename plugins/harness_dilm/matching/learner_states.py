"""States of learner trajectories: trained to, or found in a file."""

from __future__ import annotations

import numpy as np

from harness.kit.files.resume_point import ResumePoint
from harness_dilm.matching.learner import Learner, RowTable


class LearnerStates:
    """The states on the learner's trajectories, none of which depends on samples or generator.

    Args:
        table, labels: the real rows that it trains on.
        resume_point: beside which each state is kept in a file as large as the learner, so that it
            is trained once; None trains it at every visit. One state is in memory at a time.
    """

    def __init__(
        self,
        learner: Learner,
        table: RowTable,
        labels: np.ndarray,
        resume_point: ResumePoint | None,
    ) -> None:
        self._learner = learner
        self._table = table
        self._labels = labels
        self._resume_point = resume_point
        self._trained_to: tuple[int, int] | None = None

    def visit(self, trajectory: int, inner: int) -> None:
        """Puts the learner where it is after `inner` rounds of a trajectory."""
        file = self._file(trajectory, inner)
        kept = file.read() if file is not None else {}
        if kept:
            self._learner.restore(trajectory, kept)
            self._trained_to = None
            return
        self._train(trajectory, inner)
        if file is not None:
            file.write(self._learner.arrays())

    def _train(self, trajectory: int, inner: int) -> None:
        """Goes on from where the optimiser stands, if that is just before, or from the start."""
        start = inner
        if inner == 0 or self._trained_to != (trajectory, inner - 1):
            self._learner.reset(trajectory)
            start = 1
        for round_ in range(start, inner + 1):
            self._learner.train(self._table, self._labels, trajectory, round_)
        self._trained_to = (trajectory, inner)

    def _file(self, trajectory: int, inner: int) -> ResumePoint | None:
        """None where there is nothing to keep: a reset is as quick as a file."""
        if self._resume_point is None or inner == 0:
            return None
        return self._resume_point.beside(f"learner-{trajectory}-{inner}")
