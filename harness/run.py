"""Carries out a plan, one stage at a time: distil, fit, evaluate, record."""

from __future__ import annotations

import dataclasses
import json
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from harness.components import Choice, DistillerComponent
from harness.context import Progress, StageContext
from harness.contracts import check_capabilities, check_distilled, check_score, check_trained
from harness.cost import Meter
from harness.curves import Curve
from harness.errors import DivergenceError, HarnessError, StoreError
from harness.plan import Cell, Plan, StageKind
from harness.progress import SilentProgress
from harness.randomness import derive_seed, seeded
from harness.record import (
    Cost,
    Costs,
    Record,
    Tuning,
)
from harness.recording import Fitted, make_failure, make_record
from harness.results import Failure
from harness.store import Distilled, Store, StoredArrays, atomic_folder, curves_from_json
from harness.types import DistilledData, Recipe, Score, StudentInfo

Rerun = Literal["missing", "failed", "always", "never"]
_WAIT_SECONDS = 0.5


@dataclass(frozen=True)
class RunOptions:
    """How to run, none of which changes a result.

    rerun: `missing` computes cells without a record (failed ones are tried again), `failed`
    only those that failed, `always` every cell anew, `never` none.
    """

    rerun: Rerun = "missing"
    fail_fast: bool = False
    device: str = "cpu"


@dataclass(frozen=True)
class StageEvent:
    """A stage that starts or ended; `cost` and `error` are for the end only."""

    kind: StageKind
    key: str
    cell: Cell
    cost: Cost | None = None
    error: str = ""


@dataclass
class Outcome:
    """What a run did: counts of cells, and the failures in order."""

    computed: int = 0
    reused: int = 0
    skipped: int = 0
    failures: list[Failure] = field(default_factory=list)


class _StageError(Exception):
    def __init__(self, kind: StageKind, error: Exception) -> None:
        super().__init__(str(error))
        self.kind = kind
        self.error = error


class Runner:
    """Works through the cells of a plan that its store lacks.

    Several runners may share a store: a stage is locked while it is computed, and a runner
    that meets a locked stage goes on with other cells and comes back.
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
        self._report = report
        self._failed_stages: dict[str, _StageError] = {}
        self._redone: set[str] = set()

    def run(self) -> Outcome:
        """Computes what is missing and returns what was done.

        Raises:
            HarnessError: with `fail_fast`, the first failure.
        """
        self._store.prepare()
        outcome = Outcome()
        waiting = deque(self._due(outcome))
        ticks = iter(self._progress.track(range(len(waiting)), "cells", len(waiting)))
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

    def _due(self, outcome: Outcome) -> list[Cell]:
        due = []
        for cell in self._plan.cells:
            recorded = self._store.has_record(cell.key)
            wanted = {
                "missing": not recorded,
                "failed": self._store.has_failure(cell.key),
                "always": True,
                "never": False,
            }[self._options.rerun]
            if wanted:
                due.append(cell)
            elif recorded:
                outcome.reused += 1
            else:
                outcome.skipped += 1
        return due

    def _attempt(self, cell: Cell, outcome: Outcome) -> bool:
        """Runs one cell; False when another process holds one of its stages."""
        from filelock import Timeout

        try:
            computed = self._run_cell(cell)
        except Timeout:
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
            record = self._evaluated(cell, distilled, fitted)
            self._store.save_record(record)
            self._release_fit(cell)
        self._plan.host.notify("harness_run_finished", self._report, record=record)
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
        distilled: Distilled = self._stage("distill", cell, lambda: self._distil(cell))
        self._redone.add(key)
        return distilled

    def _distil(self, cell: Cell) -> tuple[Distilled, Cost]:
        arrays = StoredArrays(self._store)
        component = _distiller_of(cell)
        # One set serves all seeds, so it may depend on none of them.
        seed = derive_seed("distill", *(() if component.deterministic else (cell.distill_seed,)))
        context = self._context(cell.distill_key, seed, arrays)
        if not component.deterministic:
            context = replace(context, listed_seed=cell.distill_seed)
        task = cell.task.data.sealed()
        with Meter(context.workdir, context.device) as meter, seeded(seed):
            if cell.makes_model:
                data = DistilledData.select(task, range(task.budget_rows(cell.budget)))
            else:
                data = cell.distiller.instance.distill(task, cell.budget, context)
                check_distilled(component, data, task, cell.budget)
            cost = meter.cost(arrays.found_seconds)
            distilled = Distilled(data, cost, context.curves, context.pictures)
        self._store.save_distilled(cell.distill_key, distilled)
        self._store.drop_workdir(cell.distill_key)
        return distilled, distilled.cost

    def _fitted(self, cell: Cell, distilled: Distilled, *, anew: bool) -> Fitted:
        key = cell.fit_key
        if not anew or key in self._redone:
            known = self._load_fit(cell)
            if known is not None:
                return known
        fitted: Fitted = self._stage("fit", cell, lambda: self._fit(cell, distilled))
        self._redone.add(key)
        return fitted

    def _fit(self, cell: Cell, distilled: Distilled) -> tuple[Fitted, Cost]:
        seed = derive_seed("fit", cell.distill_seed, cell.fit_seed)
        arrays = StoredArrays(self._store)
        context = self._context(cell.fit_key, seed, arrays)
        with Meter(context.workdir, context.device) as meter:
            trained, tuning, curves = self._tune(cell, distilled, context)
            cost = meter.cost(arrays.found_seconds)
            fitted = Fitted(trained, trained.info, tuning, cost, curves)
        with atomic_folder(self._store.fit_path(cell.fit_key)) as folder:
            trained.save(folder / "model")
            (folder / "fit.json").write_text(_fit_json(fitted))
        self._store.drop_workdir(cell.fit_key)
        return fitted, fitted.cost

    def _tune(
        self, cell: Cell, distilled: Distilled, context: StageContext
    ) -> tuple[Any, Tuning, dict[str, Curve]]:
        """Fits at every rate of the grid and keeps the best on validation, the first of equals."""
        best: Any = None
        best_value = -1.0
        curves: dict[str, Curve] = {}
        scores: list[float | None] = []
        diverged: DivergenceError | None = None
        chosen = cell.learning_rates[0]
        for rate in cell.learning_rates:
            recipe = replace(cell.recipe, learning_rate=rate)
            try:
                trained = self._train(cell, distilled, recipe, context)
            except DivergenceError as error:
                diverged = error
                scores.append(None)
                continue
            if len(cell.learning_rates) == 1:
                return trained, Tuning(cell.learning_rates, (), rate), context.curves
            value = self._score(cell.tuner, trained, cell, "validation", context).value
            scores.append(value)
            if value > best_value:
                best, best_value, chosen = trained, value, rate
                curves = dict(context.curves)
        if best is None:
            assert diverged is not None
            raise diverged
        return best, Tuning(cell.learning_rates, tuple(scores), chosen), curves

    def _train(
        self, cell: Cell, distilled: Distilled, recipe: Recipe, context: StageContext
    ) -> Any:
        """The student trained by itself on a distilled set, or by a model distiller."""
        task = cell.task.data.sealed()
        student = cell.student.instance
        component = _distiller_of(cell)
        with seeded(context.seed):
            if not cell.makes_model:
                return student.fit(task, distilled.data, recipe, context)
            trained = cell.distiller.instance.fit(task, student, recipe, context)
        check_trained(component, trained)
        return trained

    def _load_fit(self, cell: Cell) -> Fitted | None:
        folder = self._store.fit_path(cell.fit_key)
        if not folder.is_dir():
            return None
        meta = json.loads((folder / "fit.json").read_bytes())
        context = self._context(cell.fit_key, 0, StoredArrays(self._store))
        trained = cell.student.instance.load(folder / "model", cell.task.data.sealed(), context)
        tuning = Tuning(
            tuple(meta["tuning"]["grid"]),
            tuple(meta["tuning"]["validation"]),
            meta["tuning"]["chosen"],
        )
        self._store.drop_workdir(cell.fit_key)
        return Fitted(
            trained,
            StudentInfo(**meta["info"]),
            tuning,
            Cost(**meta["cost"]),
            curves_from_json(meta["curves"]),
        )

    def _evaluated(self, cell: Cell, distilled: Distilled, fitted: Fitted) -> Record:
        record: Record = self._stage(
            "evaluate", cell, lambda: self._evaluate(cell, distilled, fitted)
        )
        return record

    def _evaluate(self, cell: Cell, distilled: Distilled, fitted: Fitted) -> tuple[Record, Cost]:
        seed = derive_seed("evaluate", cell.distill_seed, cell.fit_seed)
        context = self._context(cell.key, seed, StoredArrays(self._store))
        with Meter(context.workdir, context.device) as meter:
            score = self._score(cell.evaluator, fitted.trained, cell, "test", context)
            cost = meter.cost()
        self._store.save_pictures(cell.key, {**distilled.pictures, **context.pictures})
        self._store.drop_workdir(cell.key)
        costs = Costs(distilled.cost, fitted.cost, cost)
        return make_record(self._plan, cell, distilled, fitted, score, costs, context.device), cost

    def _score(
        self,
        evaluator: Choice,
        trained: Any,
        cell: Cell,
        split: Literal["validation", "test"],
        context: StageContext,
    ) -> Score:
        task = cell.task.data if split == "test" else cell.task.data.sealed()
        check_capabilities(evaluator.component, evaluator.instance.needs, trained)
        with seeded(context.seed):
            score = evaluator.instance.evaluate(trained, task, split, context)
        check_score(evaluator.component, score, task, split)
        return score

    def _context(self, key: str, seed: int, arrays: StoredArrays) -> StageContext:
        return StageContext(
            seed=seed,
            workdir=self._store.workdir(key),
            device=self._options.device,
            progress=self._progress,
            cache=arrays,
            student=self._plan.student,
        )

    def _stage(self, kind: StageKind, cell: Cell, work: Callable[[], tuple[Any, Cost]]) -> Any:
        """Runs one stage between its two events; a stage that failed is not tried twice."""
        key = cell.stage_keys()[kind]
        if key in self._failed_stages:
            raise self._failed_stages[key]
        event = StageEvent(kind, key, cell)
        self._plan.host.notify("harness_stage_started", self._report, event=event)
        try:
            with self._progress.stage(f"{kind} {cell}"):
                result, cost = work()
        except StoreError:
            raise
        except Exception as error:
            failed = _StageError(kind, error)
            self._failed_stages[key] = failed
            ended = replace(event, error=f"{type(error).__name__}: {error}")
            self._plan.host.notify("harness_stage_finished", self._report, event=ended)
            raise failed from error
        ended = replace(event, cost=cost)
        self._plan.host.notify("harness_stage_finished", self._report, event=ended)
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


def _distiller_of(cell: Cell) -> DistillerComponent:
    component = cell.distiller.component
    assert isinstance(component, DistillerComponent)
    return component


def _fit_json(fitted: Fitted) -> str:
    return json.dumps(
        {
            "info": dataclasses.asdict(fitted.info),
            "tuning": dataclasses.asdict(fitted.tuning),
            "cost": dataclasses.asdict(fitted.cost),
            "curves": {name: dataclasses.asdict(c) for name, c in fitted.curves.items()},
        }
    )
