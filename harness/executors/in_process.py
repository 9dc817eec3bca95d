"""Runs every stage in this process, one after another: the default."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness.executors import Job, Outcome, Plan, Progress, run_here


@dataclass(frozen=True)
class InProcess:
    """No start-up cost, full progress bars; a crash of one stage ends the run."""

    def run(
        self, plan: Plan, job: Job, progress: Progress, report: Callable[[str], None]
    ) -> Outcome:
        return run_here(plan, job, progress, report)
