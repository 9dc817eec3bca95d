"""The work of a cell's stages: distil, fit over the learning-rate grid, evaluate."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from harness.budget import Budget
from harness.context import Progress, StageContext
from harness.data.pool import draw_pool
from harness.errors import DivergenceError
from harness.machine.cost import Meter
from harness.randomness import derive_seed, seeded
from harness.records.curves import Curve
from harness.records.record import Cost, Costs, Record, Tuning
from harness.registry.components import ConfiguredComponent, distiller_component
from harness.registry.contracts import (
    check_capabilities,
    check_distilled,
    check_score,
    check_trained,
)
from harness.running.recording import make_record
from harness.storage.arrays import StoredArrays
from harness.storage.artifacts import Distilled, Fitted, curves_from_json
from harness.storage.atomic import atomic_folder
from harness.storage.store import Store
from harness.types import DistilledData, Recipe, Score, StudentInfo, TaskData

if TYPE_CHECKING:
    from harness.plan import Cell, Plan


@dataclass(frozen=True)
class StageWork:
    """The work of each stage, measured and seeded; a runner knows when it is due.

    patient: see `harness.storage.arrays.StoredArrays`.
    """

    plan: Plan
    store: Store
    device: str
    progress: Progress
    patient: bool = True

    def distil(self, cell: Cell) -> Distilled:
        """The distilled set, checked and stored; the whole train split for a model distiller."""
        arrays = self._arrays()
        component = distiller_component(cell.distiller)
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
                data = _distilled(cell, task, context)
            cost = meter.cost(arrays.extra_seconds)
            distilled = Distilled(data, cost, context.curves, context.pictures)
        self.store.save_distilled(cell.distill_key, distilled)
        self.store.drop_workdir(cell.distill_key)
        return distilled

    def fit(self, cell: Cell, distilled: Distilled) -> Fitted:
        """The student trained at each rate of the grid, the best on validation stored."""
        seed = derive_seed("fit", cell.distill_seed, cell.fit_seed)
        arrays = self._arrays()
        context = self._context(cell.fit_key, seed, arrays)
        with Meter(context.workdir, context.device) as meter:
            trained, tuning, curves = self._tune(cell, distilled, context)
            cost = meter.cost(arrays.extra_seconds)
            fitted = Fitted(trained, trained.info, tuning, cost, curves)
        with atomic_folder(self.store.fit_path(cell.fit_key)) as folder:
            trained.save(folder / "model")
            (folder / "fit.json").write_text(_fit_json(fitted))
        self.store.drop_workdir(cell.fit_key)
        return fitted

    def evaluate(self, cell: Cell, distilled: Distilled, fitted: Fitted) -> Record:
        """The record of the test score, not yet stored; its pictures are."""
        seed = derive_seed("evaluate", cell.distill_seed, cell.fit_seed)
        context = self._context(cell.key, seed, self._arrays())
        with Meter(context.workdir, context.device) as meter:
            score = self._score(cell.evaluator, fitted.trained, cell, "test", context)
            cost = meter.cost()
        self.store.save_pictures(cell.key, {**distilled.pictures, **context.pictures})
        self.store.drop_workdir(cell.key)
        costs = Costs(distilled.cost, fitted.cost, cost)
        return make_record(self.plan, cell, distilled, fitted, score, costs, context.device)

    def fitted_before(self, cell: Cell) -> Fitted | None:
        """The stored student, or None."""
        folder = self.store.fit_path(cell.fit_key)
        if not folder.is_dir():
            return None
        meta = json.loads((folder / "fit.json").read_bytes())
        context = self._context(cell.fit_key, 0, self._arrays())
        trained = cell.student.instance.load(folder / "model", cell.task.data.sealed(), context)
        tuning = Tuning(
            tuple(meta["tuning"]["grid"]),
            tuple(meta["tuning"]["validation"]),
            meta["tuning"]["chosen"],
        )
        self.store.drop_workdir(cell.fit_key)
        return Fitted(
            trained,
            StudentInfo(**meta["info"]),
            tuning,
            Cost(**meta["cost"]),
            curves_from_json(meta["curves"]),
        )

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
        """The student trained by itself on a distilled set, or by a distiller that says how."""
        task = cell.task.data.sealed()
        student, distiller = cell.student.instance, cell.distiller.instance
        component = distiller_component(cell.distiller)
        with seeded(context.seed):
            match component.produces:
                case "model":
                    trained = distiller.fit(task, student, recipe, context)
                case "arrays":
                    trained = distiller.train(task, student, distilled.data, recipe, context)
                case _:
                    return student.fit(task, distilled.data, recipe, context)
        check_trained(component, trained)
        return trained

    def _score(
        self,
        evaluator: ConfiguredComponent,
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

    def _arrays(self) -> StoredArrays:
        return StoredArrays(self.store, self.patient)

    def _context(self, key: str, seed: int, arrays: StoredArrays) -> StageContext:
        return StageContext(
            seed=seed,
            workdir=self.store.workdir(key),
            device=self.device,
            progress=self.progress,
            cache=arrays,
            student=self.plan.student,
        )


def _distilled(cell: Cell, task: TaskData, context: StageContext) -> DistilledData:
    """What the method makes of the seed's pool, checked; positions are of the whole split."""
    pool = draw_pool(task, cell.pool, cell.distill_seed)
    # A share is of all train rows, whatever a pool holds of them.
    share = cell.pool < 1 and cell.budget.unit == "percent"
    budget = Budget("rows", task.budget_rows(cell.budget)) if share else cell.budget
    data = cell.distiller.instance.distill(pool, budget, context)
    check_distilled(distiller_component(cell.distiller), data, pool, budget)
    if data.indices is None or pool.pool is None:
        return data
    return replace(data, indices=pool.pool[data.indices])


def _fit_json(fitted: Fitted) -> str:
    return json.dumps(
        {
            "info": dataclasses.asdict(fitted.info),
            "tuning": dataclasses.asdict(fitted.tuning),
            "cost": dataclasses.asdict(fitted.cost),
            "curves": {name: dataclasses.asdict(c) for name, c in fitted.curves.items()},
        }
    )
