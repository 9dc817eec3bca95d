"""The conformance kit for instruction tasks and causal language models.

    from harness.testing.instruction import check_language_model
    def test_my_student(tmp_path):
        check_language_model(MyStudent(), tmp_path)

Nothing here needs data, weights, a GPU or the network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.data.texts import pairs_of
from harness.errors import ContractError
from harness.registry.contracts import check_capabilities, check_score
from harness.testing.conformance import FittedTwice, described_component, require, toy_context
from harness.types import (
    ANSWER_COLUMN,
    CHOICES_COLUMN,
    COMPLETION_COLUMN,
    INSTRUCTION_COLUMNS,
    PROMPT_COLUMN,
    SUBTASK_COLUMN,
    DataSource,
    DistilledData,
    LogLikelihoods,
    Recipe,
    Split,
    StudentInfo,
    TaskData,
)

if TYPE_CHECKING:
    from datasets import Dataset

    from harness.context import StageContext
    from harness.data.sources import DataLocator

_ANSWERS = {"grass": "green", "snow": "white", "blood": "red", "coal": "black"}
_UNRELATED = ("Say hello to", "Name the friend of", "Who is the boss of")


def toy_instruction_task(rows: int = 48, *, metric: str = "acc_norm") -> TaskData:
    """Four questions about colours, each with four choices, in a pool of which half is unrelated.

    Args:
        rows: of the pool; validation and test have a third as many, all of them questions.
    """
    target = rows // 3
    return TaskData(
        name="toy-instructions",
        modality="instruction",
        version=1,
        metric=metric,
        input_columns=INSTRUCTION_COLUMNS,
        label_names=(),
        splits={
            "train": _pool(rows),
            "validation": _questions(range(target)),
            "test": _questions(range(target, 2 * target)),
        },
        source=DataSource("package", "harness.testing.instruction"),
        scoring_columns=(CHOICES_COLUMN, ANSWER_COLUMN, SUBTASK_COLUMN),
    )


@dataclass(frozen=True)
class ToyInstructionTask:
    """`toy_instruction_task` as a component."""

    rows: int = 48

    def load(self, locator: DataLocator) -> TaskData:
        del locator
        return toy_instruction_task(self.rows)


class FixedLikelihood:
    """Gives a continuation whatever log-likelihood a function says: a language model by hand."""

    def __init__(self, log_probability: Callable[[str, str], float]) -> None:
        self._log_probability = log_probability
        self.info = StudentInfo("fixed", "", "none", 0)

    def loglikelihood(
        self, pairs: Sequence[tuple[str, str]], context: StageContext | None = None
    ) -> LogLikelihoods:
        import numpy as np

        del context
        sums = np.array([self._log_probability(*pair) for pair in pairs], dtype=np.float64)
        tokens = np.array([len(continuation.split()) for _, continuation in pairs])
        return LogLikelihoods(sums, np.zeros(len(pairs), dtype=bool), tokens)

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)


def check_language_model(student: Any, folder: Path, task: TaskData | None = None) -> None:
    """A student trains reproducibly, survives saving, and scores continuations pair by pair.

    Raises:
        ContractError: it does not.
    """
    import numpy as np

    component = described_component("student", student)
    sealed = (task or toy_instruction_task()).sealed()
    data = DistilledData.select(sealed, range(min(12, len(sealed.train))))
    recipe = Recipe(steps=3, batch_size=4, max_length=64)
    fitted = FittedTwice.of(component, student, sealed, data, recipe, folder)
    rows = sealed.validation
    pairs = pairs_of(rows)
    first = fitted.first.loglikelihood(pairs)
    shape = (len(pairs),)
    require(component, all(a.shape == shape for a in (first.sums, first.greedy, first.tokens)),
            "loglikelihood", f"arrays of shape {shape}")  # fmt: skip
    fine = np.isfinite(first.sums) & (first.sums <= 0) & (first.tokens > 0)
    require(component, bool(fine.all()), "loglikelihood", "finite logarithms of probabilities")
    again = fitted.again.loglikelihood(pairs)
    require(component, bool(np.array_equal(first.sums, again.sums)), "fit",
            "the same weights for the same seed")  # fmt: skip
    loaded = fitted.loaded.loglikelihood(pairs)
    require(component, bool(np.allclose(first.sums, loaded.sums, atol=1e-4)), "load",
            "the model that was saved")  # fmt: skip
    backwards = fitted.first.loglikelihood(pairs[::-1])
    require(component, bool(np.allclose(first.sums, backwards.sums[::-1], atol=1e-4)),
            "loglikelihood", "values in the order of the pairs")  # fmt: skip


def check_likelihood_evaluator(evaluator: Any, folder: Path, task: TaskData | None = None) -> None:
    """An evaluator of a task with choices rewards the right ones, and refuses NaN.

    Raises:
        ContractError: it does not.
    """
    component = described_component("evaluator", evaluator)
    task = task or toy_instruction_task()
    right = set(pairs_of(task.test))
    split: Split = "test"
    for known, expected in ((True, 1.0), (False, 0.0)):
        model = FixedLikelihood(partial(_of_the_answers, right, known))
        check_capabilities(component, evaluator.needs, model)
        score = evaluator.evaluate(model, task, split, toy_context(folder))
        check_score(component, score, task, split)
        require(component, score.value == expected, "metrics",
                 f"{expected:g} for a model that knows the answers")  # fmt: skip
    broken = FixedLikelihood(lambda prompt, continuation: float("nan"))
    try:
        evaluator.evaluate(broken, task, split, toy_context(folder))
    except ContractError:
        return
    require(component, False, "evaluate", "an error when log-likelihoods are NaN")


def _of_the_answers(
    right: set[tuple[str, str]], known: bool, prompt: str, continuation: str
) -> float:
    """-1 for the right answers and -99 for the others, or the other way round."""
    return -1.0 if ((prompt, continuation) in right) == known else -99.0


def _questions(numbers: Sequence[int]) -> Dataset:
    from datasets import Dataset

    things, colours = list(_ANSWERS), list(_ANSWERS.values())
    chosen = [things[n % len(things)] for n in numbers]
    orders = [colours[n % 3 :] + colours[: n % 3] for n in numbers]
    return Dataset.from_dict(
        {
            PROMPT_COLUMN: [_prompt(thing, n) for thing, n in zip(chosen, numbers, strict=True)],
            COMPLETION_COLUMN: [_ANSWERS[thing] for thing in chosen],
            CHOICES_COLUMN: orders,
            ANSWER_COLUMN: [o.index(_ANSWERS[t]) for o, t in zip(orders, chosen, strict=True)],
            SUBTASK_COLUMN: ["warm" if thing == "blood" else "cold" for thing in chosen],
        }
    )


def _pool(rows: int) -> Dataset:
    from datasets import Dataset

    things = list(_ANSWERS)
    prompts, completions = [], []
    for n in range(rows):
        if n % 2:
            prompts.append(f"{_UNRELATED[n // 2 % len(_UNRELATED)]} person {n}: ")
            completions.append(f"that is number {n}")
        else:
            thing = things[n // 2 % len(things)]
            prompts.append(_prompt(thing, 1000 + n))
            completions.append(_ANSWERS[thing])
    return Dataset.from_dict({PROMPT_COLUMN: prompts, COMPLETION_COLUMN: completions})


def _prompt(thing: str, number: int) -> str:
    return f"Question {number}: what colour is {thing}?\nAnswer: "
