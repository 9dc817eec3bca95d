"""Trajectory matching as a distiller: experts, learning, projection to tokens, report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.budget import Budget
from harness.context import StageContext
from harness.errors import UsageError
from harness.types import DistilledData, TaskData
from harness_trajectory.options import TrajectoryOptions


@dataclass(frozen=True)
class Trajectory(TrajectoryOptions):
    """Synthetic texts, trained on which a student goes where experts went on the full data.

    A reconstruction: of Yao et al. 2025 (arXiv 2504.09818) we had the abstract, which says that
    prompts are learned as embeddings by matching training trajectories, kept robust by a
    regulariser and replaced by nearest tokens. The matching is MTT's (Cazenavette et al. 2022,
    arXiv 2203.11932); every other choice is an option here, its default ours.
    """

    modalities: ClassVar[tuple[str, ...]] = ("instruction", "text-classification")

    def distill(self, task: TaskData, budget: Budget, context: StageContext) -> DistilledData:
        """Real rows with learned prompts, or for tasks with classes learned texts, as text.

        Raises:
            UsageError: no usable proxy, no such parameters, fewer tokens than a row needs, an
                expert that hardly moved, or a vocabulary without an allowed token.
            DivergenceError: an expert, or the very first inner loop, left the finite numbers.
        """
        self.require_text(task)
        from harness_trajectory.stages import learn_rows

        return learn_rows(self, task, budget, context)

    def require_text(self, task: TaskData) -> None:
        """Raises UsageError for a task of another modality."""
        if task.modality not in self.modalities:
            raise UsageError(
                f"trajectory learns text, and task '{task.name}' is of {task.modality}"
            )
