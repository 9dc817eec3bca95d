"""What a worker needs to rebuild a plan and take part in it: one picklable description."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from harness.context import Progress
from harness.data.sources import DataLocator
from harness.machine.device import set_threads
from harness.machine.progress import SilentProgress
from harness.plan import Plan
from harness.planning.building import build_plan
from harness.plugins import PluginHost
from harness.running.runner import Outcome, Runner, RunOptions
from harness.storage.store import Store
from harness.suite import Suite


@dataclass(frozen=True)
class Job:
    """One request to run a suite into a folder.

    plugins: the extra plugin modules; jobs: how many workers an executor may use;
    threads: torch threads of each worker, 0 for torch's own choice.
    """

    suite: Suite
    output: Path
    data_dir: Path | None
    plugins: tuple[str, ...]
    options: RunOptions
    jobs: int = 1
    threads: int = 0


class Executor(Protocol):
    """Carries out what a plan lacks. Options are the fields of the implementing dataclass."""

    def run(
        self, plan: Plan, job: Job, progress: Progress, report: Callable[[str], None]
    ) -> Outcome: ...


def work_on(job: Job, report: Callable[[str], None]) -> Outcome:
    """Rebuilds the plan from the job and runs it here, beside other workers on the same store."""
    set_threads(job.threads)
    host = PluginHost.discover(job.plugins)
    locator = DataLocator.from_environment(job.data_dir)
    plan = build_plan(job.suite, host, locator, report)
    return Runner(plan, Store(job.output), job.options, SilentProgress(), report).run()
