"""Runs stages in worker processes that share the store and find work by its locks."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess

from harness.context import Progress
from harness.errors import INTERRUPTED, HarnessError, UsageError
from harness.plan import Cell, Plan
from harness.records.failure import Failure
from harness.records.results import load_records
from harness.running.job import Job, work_on
from harness.running.recording import make_failure
from harness.running.runner import Outcome
from harness.storage.store import Store

_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Processes:
    """`--jobs N` workers; one that dies (out of memory, a crash) costs the stage it was in."""

    def run(
        self, plan: Plan, job: Job, progress: Progress, report: Callable[[str], None]
    ) -> Outcome:
        """Starts the workers and follows the records they write.

        Raises:
            UsageError: every cell is to be computed anew, which workers cannot divide.
        """
        if job.options.rerun == "always":
            raise UsageError(
                "--rerun always needs the in-process executor: workers share cells by what"
                " is missing",
                hint="Use another --output, or --executor in-process.",
            )
        store = Store(job.output)
        store.prepare()
        due = [c for c in plan.cells if _is_due(c, store, job)]
        if job.options.rerun == "never":
            return Outcome(reused=len(plan.cells) - len(plan.missing(store)))
        workers = _start_workers(job)
        try:
            _follow(workers, due, store, progress, fail_fast=job.options.fail_fast)
        except BaseException:
            for worker in workers:
                worker.terminate()
            raise
        for worker in workers:
            if worker.exitcode:
                report(f"worker {worker.name} ended with code {worker.exitcode}")
        return _outcome(plan, due, store)


def _is_due(cell: Cell, store: Store, job: Job) -> bool:
    if job.options.rerun == "failed":
        return store.has_failure(cell.key)
    return not store.has_record(cell.key)


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
    workers: list[BaseProcess],
    due: list[Cell],
    store: Store,
    progress: Progress,
    *,
    fail_fast: bool,
) -> None:
    """Advances the bar as cells end, until every worker has, or with `fail_fast` one failed."""
    open_cells = {cell.key for cell in due}
    ticks = iter(progress.track(range(len(due)), "cells", len(due)))
    while alive := [worker.sentinel for worker in workers if worker.is_alive()]:
        wait(alive, timeout=_POLL_SECONDS)
        ended = {key for key in open_cells if store.record_path(key).exists()}
        open_cells -= ended
        for _ in ended:
            next(ticks, None)
        if fail_fast and any(worker.exitcode for worker in workers):
            for worker in workers:
                worker.terminate()
    for worker in workers:
        worker.join()
    for _ in ticks:
        continue


def _outcome(plan: Plan, due: list[Cell], store: Store) -> Outcome:
    computed = [cell for cell in due if store.has_record(cell.key)]
    failed = {
        failure.key: failure for failure in load_records(store.root, missing_ok=True).failures
    }
    lost = [cell for cell in due if not store.has_record(cell.key)]
    return Outcome(
        computed=len(computed),
        reused=len(plan.cells) - len(due),
        failures=[failed.get(cell.key) or _lost(cell) for cell in lost],
    )


def _lost(cell: Cell) -> Failure:
    return make_failure(
        cell,
        stage="unknown",
        error="WorkerDied",
        message="its worker died before the cell ended; run the same command to go on",
    )
