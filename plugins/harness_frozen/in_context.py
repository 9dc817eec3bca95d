"""The student `in-context`: distilled rows shown to a language model, not trained on."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from harness.errors import HarnessWarning, UsageError
from harness.options import Count, Natural
from harness.types import LABEL_COLUMN, DistilledData, Recipe, StudentInfo, TaskData
from harness_frozen.demonstrations import NONE, Demonstrations, balanced_that_fit, draw_by_class

if TYPE_CHECKING:
    from harness.context import StageContext
    from harness_frozen.predictor import InContextPredictor
    from harness_frozen.prompts import PromptTokens

QUERIES_LOOKED_AT = 1000
USUAL_QUERY = 0.95
"""Beside the demonstrations there is room for this share of validation's queries."""


@dataclass(frozen=True)
class InContext:
    """A causal language model that is shown the distilled rows as examples (Brown et al. 2020).

    Nothing is trained: the recipe's steps, rates and token limit mean nothing here, but for 0
    steps (the row `base`), which shows no example. An example has its most probable class where
    labels are soft; rows of weight 0 are not shown, other weights mean nothing. The answer is the
    class whose word begins with the most probable next token. Prompts are plain text, without a
    chat template.

    model: a student that builds a causal language model, such as smollm2:135m-gguf.
    label_words: a word for each class, in the order of the labels; the class names when empty.
    template: a row as text, with the task's columns in braces and {label} at the end; when empty
    `column: text` on a line each, then `label: word`.
    separator: what stands between two rows.
    shots: rows of each class, drawn for each seed; 0 shows all.
    orders: how many random orders of the examples are tried; probabilities are averaged.
    max_length: tokens of a prompt, 0 for as many as the model allows. What does not fit beside a
    query is left out, equally of all classes; a query is never cut while there is an example.
    calibrate: divide by the probabilities for texts that say nothing (Zhao et al. 2021).
    """

    model: str = ""
    label_words: tuple[str, ...] = ()
    template: str = ""
    separator: str = "\n\n"
    shots: Natural = 0
    orders: Count = 1
    max_length: Natural = 0
    calibrate: bool = False

    modalities: ClassVar[tuple[str, ...]] = ("text-classification",)
    offers: ClassVar[tuple[str, ...]] = ("predict",)

    def __post_init__(self) -> None:
        if not self.model:
            raise UsageError(
                "student 'in-context' needs a language model",
                hint="Write in-context:STUDENT, such as in-context:smollm2:135m-gguf.",
            )

    @property
    def uses_students(self) -> tuple[str, ...]:
        """The student whose model is asked: its identity is part of what this one is."""
        return (self.model,)

    def fingerprint(self) -> str:
        """There are no weights of its own: those of the model come with `uses_students`."""
        return "untrained"

    def fit(
        self, task: TaskData, data: DistilledData, recipe: Recipe, context: StageContext
    ) -> InContextPredictor:
        """Chooses and orders the examples.

        Raises:
            UsageError: the model is no causal language model; words or template do not suit the
                task; or not even one example of each class fits into a prompt.
        """
        predictor = self._untaught(task, context)
        texts, labels = _rows_to_show(data, task)
        if recipe.steps == 0 or not texts:
            return predictor
        chosen = self._choose(task, texts, labels, predictor, context)
        orders = [
            context.numpy_generator("order", number).permutation(len(chosen)).tolist()
            for number in range(self.orders)
        ]
        shown = Demonstrations(
            texts=tuple(texts[row] for row in chosen),
            labels=tuple(int(labels[row]) for row in chosen),
            orders=tuple(map(tuple, orders)),
        )
        counts = np.bincount(shown.labels, minlength=len(task.label_names))
        context.keep_curve("examples of each class", counts)
        return replace(predictor, demonstrations=shown)

    def load(self, folder: Path, task: TaskData, context: StageContext) -> InContextPredictor:
        """Reads what `InContextPredictor.save` wrote; the model is built as before."""
        return replace(self._untaught(task, context), demonstrations=Demonstrations.load(folder))

    def _untaught(self, task: TaskData, context: StageContext) -> InContextPredictor:
        """The model without any example."""
        from harness.kit.language.encoding import InstructionEncoder
        from harness.kit.language.student import untrained_lm
        from harness_frozen.predictor import InContextPredictor
        from harness_frozen.prompts import PromptFormat, PromptTokens

        form = PromptFormat.of(task, self.template, self.label_words, self.separator)
        lm = untrained_lm(self.model, task, context)
        if lm is None:
            raise UsageError(
                f"student '{self.model}' builds no causal language model, so it cannot learn in"
                " context",
                hint="Write in-context:STUDENT, such as in-context:smollm2:135m-gguf.",
            )
        limit = min(self.max_length or lm.max_length, lm.max_length)
        prompts = PromptTokens(form, InstructionEncoder(lm.tokenizer, limit), limit)
        info = StudentInfo("in-context", self.model, lm.info.source, lm.info.parameters)
        return InContextPredictor(lm, prompts, NONE, task.input_columns, self.calibrate, info)

    def _choose(
        self,
        task: TaskData,
        texts: Sequence[tuple[str, ...]],
        labels: np.ndarray,
        predictor: InContextPredictor,
        context: StageContext,
    ) -> np.ndarray:
        """The rows to show: `shots` of each class, or as many as there is room for."""
        prompts = predictor.prompts
        wanted = draw_by_class(labels, self.shots, context.numpy_generator("examples"))

        @cache
        def length(row: int) -> int:
            return len(prompts.demonstration(texts[row], int(labels[row]), opens=False))

        query = _usual_query(task, prompts)
        room = prompts.limit - len(prompts.start) - query
        kept = balanced_that_fit(wanted, length, room)
        shown, asked = sum(map(len, kept)), sum(map(len, wanted))
        if not shown:
            least = sum(min(map(length, rows.tolist())) for rows in wanted)
            raise UsageError(
                f"not even one example of each class fits into {prompts.limit} tokens: the"
                f" shortest take {least}, beside {query} for a query",
                hint=f"Set max_length to {least + query + len(prompts.start)} or more; student"
                f" '{self.model}' reads {predictor.lm.max_length} at most.",
            )
        if shown < asked:
            warnings.warn(
                f"{asked - shown} of {asked} examples are left out, to keep prompts within"
                f" {prompts.limit} tokens: at most {max(map(len, kept))} of each class are shown",
                HarnessWarning,
                stacklevel=3,
            )
        return np.sort(np.concatenate(kept))


def _rows_to_show(data: DistilledData, task: TaskData) -> tuple[list[tuple[str, ...]], np.ndarray]:
    """Texts and classes of the rows that count."""
    texts = list(zip(*(data.rows[column][:] for column in task.input_columns), strict=True))
    labels = (
        np.asarray(data.rows[LABEL_COLUMN][:], dtype=np.int64)
        if data.soft_labels is None
        else np.asarray(data.soft_labels).argmax(axis=1)
    )
    counting = (
        np.arange(len(texts)) if data.weights is None else np.flatnonzero(np.asarray(data.weights))
    )
    return [texts[row] for row in counting], labels[counting]


def _usual_query(task: TaskData, prompts: PromptTokens) -> int:
    """Tokens that are enough for most of validation's queries."""
    rows = task.validation.select(range(min(QUERIES_LOOKED_AT, len(task.validation))))
    columns = (rows[column][:] for column in task.input_columns)
    lengths = [len(prompts.query(row, opens=False)) for row in zip(*columns, strict=True)]
    return int(np.quantile(lengths, USUAL_QUERY, method="higher"))
