"""The distiller `less`: warm-up, influence scores, selection, report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from harness.budget import Budget
from harness.context import StageContext
from harness.errors import UsageError
from harness.fingerprint import rows_digest
from harness.kit.language.student import proxy_lm_inputs
from harness.kit.selection.row_pool import considered_rows
from harness.kit.selection.target_rows import target_rows
from harness.types import DistilledData, TaskData
from harness_less.flaws import LEFT_OUT, NOT_FINITE, UNREADABLE, ZERO
from harness_less.options import LessOptions
from harness_less.selection import choose


@dataclass(frozen=True)
class Less(LessOptions):
    """The pool's rows whose training step helps the target most, to first order.

    LESS (Xia, Malladi, Gururangan, Arora and Chen 2024, arXiv 2402.04333): a short LoRA run on
    the pool leaves checkpoints t; a row z scores against a subtask's examples v by
    sum_t w_t cos(Gamma_t(z), grad_t(v)), Gamma_t being the step that Adam would take with the
    row's gradient; its best subtask counts. Defaults are the published ones.
    """

    modalities: ClassVar[tuple[str, ...]] = ("instruction",)

    def distill(self, task: TaskData, budget: Budget, context: StageContext) -> DistilledData:
        """A selection of train rows, best first. The target is the validation split.

        Raises:
            UsageError: the task is none of instructions, the target is empty, the proxy is no
                language model, no row of the pool or of a subtask can be read, or the option pool
                is below the budget.
            HarnessError: the gradients of a subtask's examples have no direction.
            DivergenceError: the warm-up left the finite numbers.
        """
        if task.modality != "instruction":
            raise UsageError(
                f"less chooses instructions, and task '{task.name}' is of {task.modality}"
            )
        target_rows(task)
        rows = task.budget_rows(budget)
        considered = considered_rows(task, budget, self.pool)
        scored = context.cache.arrays(
            "less-scores",
            self._inputs(task, context),
            lambda: self._score(task, considered, context),
        )
        chosen = choose(scored["scores"], scored["lengths"], rows, self.tokens)
        context.keep_curve("warm-up loss", scored["losses"])
        report = {**measured(scored), **selected(scored["scores"], scored["lengths"], chosen)}
        data = DistilledData.select(task, chosen, report=report)
        return replace(data, used_splits=("train", "validation"))

    def _inputs(self, task: TaskData, context: StageContext) -> dict[str, Any]:
        """Everything that the scores depend on; budgets share them."""
        target = {"validation": rows_digest(task.validation)}
        return {**self._warm_up_inputs(task, context), **target, "scores": self.score_inputs()}

    def _warm_up_inputs(self, task: TaskData, context: StageContext) -> dict[str, Any]:
        """Everything that the checkpoints depend on; variants and targets share them."""
        return {
            **proxy_lm_inputs(self.proxy, context),
            "train": rows_digest(task.train),
            "seed": context.seed,
            "device": context.device.partition(":")[0],
            "warm-up": self.warm_up_inputs(),
        }

    def _score(
        self, task: TaskData, considered: np.ndarray, context: StageContext
    ) -> Mapping[str, np.ndarray]:
        from harness_less.phases import score_pool

        return score_pool(self, task, considered, self._warm_up_inputs(task, context), context)


def measured(scored: Mapping[str, np.ndarray]) -> dict[str, float | int]:
    """What the scores say about themselves, for a record."""
    finite = scored["scores"][np.isfinite(scored["scores"])]
    quantiles = np.quantile(finite, [0.0, 0.5, 0.95, 1.0]) if len(finite) else np.zeros(4)
    names = ("score_min", "score_median", "score_q95", "score_max")
    whole = {
        name: int(scored[name][0])
        for name in (
            "warm_up_rows", "checkpoints", "adapter_parameters", "target_rows", "subtasks",
            "excluded_target_rows", "distinct_rows",
        )
    }  # fmt: skip
    flaws = scored["flaws"]
    return {
        **whole,
        "warm_up_steps": len(scored["losses"]),
        "mean_pairwise_cosine": float(scored["mean_pairwise_cosine"][0]),
        "zero_coordinates": float(scored["zero_coordinates"].max()),
        "rows_considered": int((flaws != LEFT_OUT).sum()),
        "excluded_unreadable": int((flaws == UNREADABLE).sum()),
        "excluded_not_finite": int((flaws == NOT_FINITE).sum()),
        "excluded_zero": int((flaws == ZERO).sum()),
        **{name: float(value) for name, value in zip(names, quantiles, strict=True)},
    }


def selected(scores: np.ndarray, lengths: np.ndarray, chosen: np.ndarray) -> dict[str, float | int]:
    """What is true of the chosen rows."""
    return {
        "chosen_rows": len(chosen),
        "chosen_tokens": int(lengths[chosen].sum()),
        "chosen_score_mean": float(scores[chosen].mean()),
        "chosen_score_min": float(scores[chosen].min()),
    }
