"""Jobs: picklable requests from which a worker rebuilds the plan and takes part in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from harness.context import Progress, SilentProgress
from harness.data.sources import DataLocator
from harness.machine.device import set_threads
from harness.plan import Plan
from harness.planning.building import build_plan
from harness.plugins import PluginHost
from harness.running.backlog import Backlog, Outcome, RunOptions
from harness.running.runner import Runner
from harness.storage.store import Store
from harness.suite import Suite


@dataclass(frozen=True)
class Job:
    """One request to run a suite into a folder.

    output: the results folder, which all workers share.
    data_dir: where data lies; None leaves it to the environment of the worker.
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

    def backlog(self, plan: Plan) -> Backlog:
        """What workers are to compute of a plan; see `Backlog` for errors."""
        return Backlog(plan, Store(self.output), self.options)


class Executor(Protocol):
    """Carries out what a plan lacks. Options are the fields of the implementing dataclass."""

    def run(
        self, plan: Plan, job: Job, progress: Progress, report: Callable[[str], None]
    ) -> Outcome:
        """Computes what is due of `plan`, here or elsewhere, and says what was done.

        plan: what `job` describes, already built in this process.
        report: is told of everything that goes wrong without stopping the work.
        """


def work_on(job: Job, report: Callable[[str], None]) -> Outcome:
    """Rebuilds the plan from the job and runs it here, beside other workers on the same store.

    Raises:
        HarnessError: the plan cannot be built here, or with `fail_fast` the first failure.
    """
    host = PluginHost.discover(job.plugins)
    locator = DataLocator.from_environment(job.data_dir)
    plan = build_plan(job.suite, host, locator, report)
    return run_here(plan, job, SilentProgress(), report)


def run_here(plan: Plan, job: Job, progress: Progress, report: Callable[[str], None]) -> Outcome:
    """Runs every stage that is due in this process, one after another.

    Raises:
        HarnessError: with `fail_fast`, the first failure.
    """
    set_threads(job.threads)
    return Runner(plan, Store(job.output), job.options, progress, report).run()
