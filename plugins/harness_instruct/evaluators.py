"""The evaluators `multiple-choice` and `completion`: accuracy by likelihood, likelihoods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from harness.data.texts import pairs_of
from harness.kit.evaluation import broken_result, unfit_task
from harness.protocols import LanguageModel
from harness.types import (
    ANSWER_COLUMN,
    CHOICES_COLUMN,
    PROMPT_COLUMN,
    LogLikelihoods,
    Score,
    Split,
    TaskData,
)

if TYPE_CHECKING:
    from harness.context import StageContext


@dataclass(frozen=True)
class MultipleChoice:
    """The share of questions whose right choice is the most probable one.

    As lm-eval defines them: `acc` compares the choices' log-likelihoods, `acc_norm` divides each
    by the choice's characters and `acc_bytes` by its bytes. Of equal choices the first counts.
    """

    needs: ClassVar[tuple[str, ...]] = ("loglikelihood",)
    modalities: ClassVar[tuple[str, ...]] = ("instruction",)

    def evaluate(
        self, trained: LanguageModel, task: TaskData, split: Split, context: StageContext
    ) -> Score:
        """Raises ContractError for a task without choices or with a metric of another evaluator,
        and for log-likelihoods of a wrong shape or that are not finite."""
        if CHOICES_COLUMN not in task.scoring_columns:
            raise unfit_task(
                task, "scoring_columns", "choices and answer", str(task.scoring_columns)
            )
        rows = task.split(split)
        choices = rows[CHOICES_COLUMN][:]
        prompts = rows[PROMPT_COLUMN][:]
        pairs = [
            (p, choice) for p, options in zip(prompts, choices, strict=True) for choice in options
        ]
        found = _checked(trained, trained.loglikelihood(pairs, context), len(pairs))
        lengths = {
            "acc": np.ones(len(pairs)),
            "acc_norm": np.array([len(choice) for _, choice in pairs]),
            "acc_bytes": np.array([len(choice.encode()) for _, choice in pairs]),
        }
        ends = np.cumsum([len(options) for options in choices])
        picked = {
            metric: np.array([part.argmax() for part in np.split(found.sums / by, ends[:-1])])
            for metric, by in lengths.items()
        }
        if task.metric not in picked:
            raise unfit_task(task, "metric", f"one of {', '.join(picked)}", f"'{task.metric}'")
        target = np.asarray(rows[ANSWER_COLUMN])
        compact = np.min_scalar_type(max(map(len, choices)) - 1)
        return Score(
            metrics={name: float(np.mean(chosen == target)) for name, chosen in picked.items()},
            main=task.metric,
            items={
                "score": picked[task.metric] == target,
                "prediction": picked[task.metric].astype(compact),
                "target": target.astype(compact),
            },
        )


@dataclass(frozen=True)
class CompletionLikelihood:
    """How probable the model finds the completions, for tasks with or without choices.

    `token_likelihood` is the geometric mean of the probabilities of a completion's tokens, one
    over its perplexity, averaged over the rows. `greedy_match` is the share of completions that
    the model would write itself, token by token.
    """

    needs: ClassVar[tuple[str, ...]] = ("loglikelihood",)
    modalities: ClassVar[tuple[str, ...]] = ("instruction",)

    def evaluate(
        self, trained: LanguageModel, task: TaskData, split: Split, context: StageContext
    ) -> Score:
        """Ranks by the task's metric where it is one of these two, else by `token_likelihood`.

        Raises:
            ContractError: log-likelihoods of a wrong shape or that are not finite.
        """
        rows = task.split(split)
        pairs = pairs_of(rows)
        found = _checked(trained, trained.loglikelihood(pairs, context), len(pairs))
        values = {
            "token_likelihood": np.exp(np.minimum(found.sums / found.tokens, 0.0)),
            "greedy_match": found.greedy.astype(np.float64),
        }
        main = task.metric if task.metric in values else "token_likelihood"
        metrics = {name: float(value.mean()) for name, value in values.items()}
        return Score(metrics=metrics, main=main, items={"score": values[main]})


def _checked(trained: LanguageModel, found: LogLikelihoods, pairs: int) -> LogLikelihoods:
    shapes = {np.shape(found.sums), np.shape(found.greedy), np.shape(found.tokens)}
    if shapes != {(pairs,)}:
        expected, got = f"arrays of shape {(pairs,)}", f"shapes {sorted(shapes)}"
        raise broken_result(trained, "loglikelihood", expected, got)
    bad = int((~np.isfinite(found.sums)).sum())
    if bad:
        got = f"NaN or infinity in {bad} of {pairs} pairs"
        raise broken_result(trained, "loglikelihood", "finite log-likelihoods", got)
    return found
