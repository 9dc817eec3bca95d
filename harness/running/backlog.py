"""The backlog of a plan: due cells, and the outcome of a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from harness.errors import UsageError
from harness.plan import Cell, Plan
from harness.records.failure import Failure
from harness.records.results import load_records
from harness.running.recording import make_failure
from harness.storage.store import Store

Rerun = Literal["missing", "failed", "always", "never"]


@dataclass(frozen=True)
class RunOptions:
    """How to run, none of which changes a result.

    rerun: `missing` computes cells without a record (failed ones are tried again), `failed`
    only those that failed, `always` every cell anew, `never` none.
    """

    rerun: Rerun = "missing"
    fail_fast: bool = False
    device: str = "cpu"


@dataclass
class Outcome:
    """What a run did: counts of cells, and the failures in order."""

    computed: int = 0
    reused: int = 0
    skipped: int = 0
    failures: list[Failure] = field(default_factory=list)


def due_cells(plan: Plan, store: Store, rerun: Rerun) -> tuple[list[Cell], Outcome]:
    """The cells to compute, in the plan's order, and the counts of those that are not."""
    due = []
    outcome = Outcome()
    for cell in plan.cells:
        recorded = store.has_record(cell.key)
        wanted = {
            "missing": not recorded,
            "failed": store.has_failure(cell.key),
            "always": True,
            "never": False,
        }[rerun]
        if wanted:
            due.append(cell)
        elif recorded:
            outcome.reused += 1
        else:
            outcome.skipped += 1
    return due, outcome


class Backlog:
    """The cells that workers are to compute, and how far they have come, read from the store.

    Workers need not be told which cell is whose: each works through the whole plan and takes
    what no other holds (`harness.executors.work_on`).

    due: the cells to compute, in the plan's order.
    """

    def __init__(self, plan: Plan, store: Store, options: RunOptions) -> None:
        """Prepares the store and looks up what is due.

        Raises:
            UsageError: every cell is to be computed anew, which workers cannot divide.
            StoreError: the results folder cannot be written.
        """
        if options.rerun == "always":
            raise UsageError(
                "--rerun always needs the in-process executor: workers share cells by what"
                " is missing",
                hint="Use another --output, or --executor in-process.",
            )
        store.prepare()
        self._store = store
        self.due, self._others = due_cells(plan, store, options.rerun)

    def ended(self) -> set[str]:
        """The keys of the due cells that have a record by now."""
        return {cell.key for cell in self.due if self._store.record_path(cell.key).exists()}

    def outcome(self) -> Outcome:
        """What became of the due cells, once every worker has stopped.

        A cell that left neither a record nor a failure counts as a failure: its worker died.
        """
        failures = load_records(self._store.root, missing_ok=True).failures
        failed = {failure.key: failure for failure in failures}
        lost = [cell for cell in self.due if not self._store.has_record(cell.key)]
        return Outcome(
            computed=len(self.due) - len(lost),
            reused=self._others.reused,
            skipped=self._others.skipped,
            failures=[failed.get(cell.key) or _worker_died(cell) for cell in lost],
        )


def _worker_died(cell: Cell) -> Failure:
    return make_failure(
        cell,
        stage="unknown",
        error="WorkerDied",
        message="its worker died before the cell ended; run the same command to go on",
    )
