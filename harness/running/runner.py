"""The runner: which cell's stage is due, locked, known already, or failed."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from harness.context import Progress, SilentProgress
from harness.errors import ComputedElsewhere, HarnessError, StoreError
from harness.plan import Cell, Plan, StageEvent, StageKind
from harness.records.failure import Failure
from harness.records.record import Record
from harness.running.backlog import Outcome, RunOptions, due_cells
from harness.running.recording import make_failure
from harness.running.stages import StageWork
from harness.storage.artifacts import Distilled, Fitted
from harness.storage.store import Store

_Result = TypeVar("_Result", Distilled, Fitted, Record)
_WAIT_SECONDS = 0.5


class _StageError(Exception):
    def __init__(self, kind: StageKind, error: Exception) -> None:
        super().__init__(str(error))
        self.kind = kind
        self.error = error


class Runner:
    """Works through the cells of a plan that its store lacks.

    Several runners may share a store: a stage is locked while it is computed, and a runner
    that meets a locked stage goes on with other cells and comes back. In its first round it also
    leaves a stage that asks for an array which another runner is computing; later it waits.
    """

    def __init__(
        self,
        plan: Plan,
        store: Store,
        options: RunOptions,
        progress: Progress | None = None,
        report: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._plan = plan
        self._store = store
        self._options = options
        self._progress = progress or SilentProgress()
        self._stages = StageWork(plan, store, options.device, self._progress)
        self._report = report
        self._failed_stages: dict[str, _StageError] = {}
        self._redone: set[str] = set()

    def run(self) -> Outcome:
        """Computes what is missing and returns what was done.

        Raises:
            HarnessError: with `fail_fast`, the first failure.
        """
        self._store.prepare()
        due, outcome = due_cells(self._plan, self._store, self._options.rerun)
        waiting = deque(due)
        ticks = iter(self._progress.track(range(len(waiting)), "cells", len(waiting)))
        self._stages = replace(self._stages, patient=False)
        while waiting:
            done_before = len(waiting)
            for _ in range(done_before):
                cell = waiting.popleft()
                if self._attempt(cell, outcome):
                    next(ticks, None)
                else:
                    waiting.append(cell)
            if len(waiting) == done_before:
                time.sleep(_WAIT_SECONDS)
            self._stages = replace(self._stages, patient=True)
        next(ticks, None)
        return outcome

    def distil(self, cell: Cell) -> Distilled:
        """One cell's distilled set, found or computed, waiting for whoever holds its lock.

        Raises:
            HarnessError: the distiller failed.
        """
        self._store.prepare()
        try:
            with self._store.lock(cell.distill_key):
                return self._distilled(cell, anew=False)
        except _StageError as failed:
            raise failed.error from None

    def train(self, cell: Cell) -> Fitted:
        """One cell's trained student, found or computed, waiting for whoever holds its lock.

        Raises:
            HarnessError: the distiller or the student failed.
        """
        distilled = self.distil(cell)
        try:
            with self._store.lock(cell.fit_key):
                return self._fitted(cell, distilled, anew=False)
        except _StageError as failed:
            raise failed.error from None

    def _attempt(self, cell: Cell, outcome: Outcome) -> bool:
        """Runs one cell; False when another process is at what it needs."""
        from filelock import Timeout

        try:
            computed = self._run_cell(cell)
        except (Timeout, ComputedElsewhere):
            return False
        except _StageError as failed:
            failure = self._note_failure(cell, failed)
            outcome.failures.append(failure)
            if self._options.fail_fast:
                raise failed.error from None
            return True
        outcome.computed += computed
        outcome.reused += not computed
        return True

    def _run_cell(self, cell: Cell) -> bool:
        """True when the record was computed here, False when another process had made it."""
        anew = self._options.rerun == "always"
        with self._store.lock(cell.distill_key).acquire(timeout=0):
            distilled = self._distilled(cell, anew=anew)
        with self._store.lock(cell.fit_key).acquire(timeout=0):
            if not anew and self._store.has_record(cell.key):
                return False
            fitted = self._fitted(cell, distilled, anew=anew)
            record = self._stage(
                "evaluate", cell, lambda: self._stages.evaluate(cell, distilled, fitted)
            )
            self._store.save_record(record)
            self._release_fit(cell)
        self._plan.observers.notify("harness_run_finished", self._report, record=record)
        return True

    def _release_fit(self, cell: Cell) -> None:
        """Drops the weights once every evaluator of the plan has scored them."""
        siblings = [c for c in self._plan.cells if c.fit_key == cell.fit_key]
        if all(self._store.has_record(c.key) for c in siblings):
            self._store.drop_fit(cell.fit_key)

    def _distilled(self, cell: Cell, *, anew: bool) -> Distilled:
        key = cell.distill_key
        known = self._store.distilled(key, cell.task.data.train)
        if known is not None and (not anew or key in self._redone):
            return known
        distilled = self._stage("distill", cell, lambda: self._stages.distil(cell))
        self._redone.add(key)
        return distilled

    def _fitted(self, cell: Cell, distilled: Distilled, *, anew: bool) -> Fitted:
        key = cell.fit_key
        if not anew or key in self._redone:
            known = self._stages.fitted_before(cell)
            if known is not None:
                return known
        fitted = self._stage("fit", cell, lambda: self._stages.fit(cell, distilled))
        self._redone.add(key)
        return fitted

    def _stage(self, kind: StageKind, cell: Cell, work: Callable[[], _Result]) -> _Result:
        """Runs one stage between its two events; a stage that failed is not tried twice."""
        key = cell.stage_keys()[kind]
        if key in self._failed_stages:
            raise self._failed_stages[key]
        event = StageEvent(kind, key, cell)
        self._plan.observers.notify("harness_stage_started", self._report, event=event)
        try:
            with self._progress.stage(f"{kind} {cell}"):
                result = work()
        except ComputedElsewhere:
            ended = replace(event, error="put off: another process computes what it needs")
            self._plan.observers.notify("harness_stage_finished", self._report, event=ended)
            raise
        except StoreError:
            raise
        except Exception as error:
            failed = _StageError(kind, error)
            self._failed_stages[key] = failed
            ended = replace(event, error=f"{type(error).__name__}: {error}")
            self._plan.observers.notify("harness_stage_finished", self._report, event=ended)
            raise failed from error
        cost = result.costs.evaluate if isinstance(result, Record) else result.cost
        ended = replace(event, cost=cost)
        self._plan.observers.notify("harness_stage_finished", self._report, event=ended)
        return result

    def _note_failure(self, cell: Cell, failed: _StageError) -> Failure:
        import traceback

        error = failed.error
        own = isinstance(error, HarnessError)
        failure = make_failure(
            cell,
            stage=failed.kind,
            error=type(error).__name__,
            message=str(error),
            trace="" if own else "".join(traceback.format_exception(error)),
        )
        self._store.save_failure(failure)
        self._report(f"{cell}: {failed.kind} failed: {type(error).__name__}: {error}")
        return failure
