"""Runs stages in worker processes that share the store and find work by its locks."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess

from harness.errors import INTERRUPTED, HarnessError
from harness.executors import Backlog, Job, Outcome, Plan, Progress, work_on

_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Processes:
    """`--jobs N` workers; one that dies (out of memory, a crash) costs the stage it was in."""

    def run(
        self, plan: Plan, job: Job, progress: Progress, report: Callable[[str], None]
    ) -> Outcome:
        """Starts the workers and follows the records they write; see `Backlog` for errors."""
        backlog = job.backlog(plan)
        workers = _start_workers(job) if backlog.due else []
        try:
            _follow(workers, backlog, progress, fail_fast=job.options.fail_fast)
        except BaseException:
            for worker in workers:
                worker.terminate()
            raise
        for worker in workers:
            if worker.exitcode:
                report(f"worker {worker.name} ended with code {worker.exitcode}")
        return backlog.outcome()


def _start_workers(job: Job) -> list[BaseProcess]:
    spawn = multiprocessing.get_context("spawn")
    cores = os.cpu_count() or 1
    threads = job.threads or max(1, cores // job.jobs)
    workers = [
        spawn.Process(target=_worker, args=(replace(job, threads=threads),), name=f"worker-{n}")
        for n in range(job.jobs)
    ]
    for worker in workers:
        worker.start()
    return list(workers)


def _worker(job: Job) -> None:
    def report(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    try:
        work_on(job, report)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except HarnessError as error:
        report(str(error))
        sys.exit(error.exit_code)


def _follow(
    workers: list[BaseProcess], backlog: Backlog, progress: Progress, *, fail_fast: bool
) -> None:
    """Advances the bar as cells end, until every worker has, or with `fail_fast` one failed."""
    shown = 0
    ticks = iter(progress.track(range(len(backlog.due)), "cells", len(backlog.due)))
    while alive := [worker.sentinel for worker in workers if worker.is_alive()]:
        wait(alive, timeout=_POLL_SECONDS)
        ended = len(backlog.ended())
        for _ in range(ended - shown):
            next(ticks, None)
        shown = ended
        if fail_fast and any(worker.exitcode for worker in workers):
            for worker in workers:
                worker.terminate()
    for worker in workers:
        worker.join()
    for _ in ticks:
        continue
