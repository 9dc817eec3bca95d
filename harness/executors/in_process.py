"""Runs every stage in this process, one after another: the default."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness.context import Progress
from harness.machine.device import set_threads
from harness.plan import Plan
from harness.running.job import Job
from harness.running.runner import Outcome, Runner
from harness.storage.store import Store


@dataclass(frozen=True)
class InProcess:
    """No start-up cost, full progress bars; a crash of one stage ends the run."""

    def run(
        self, plan: Plan, job: Job, progress: Progress, report: Callable[[str], None]
    ) -> Outcome:
        set_threads(job.threads)
        return Runner(plan, Store(job.output), job.options, progress, report).run()
