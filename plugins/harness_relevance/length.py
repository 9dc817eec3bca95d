"""Length: the rows with the longest, or the shortest, completions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness.budget import Budget
from harness.context import StageContext
from harness.data.texts import joined_texts
from harness.types import COMPLETION_COLUMN, DistilledData, TaskData
from harness_relevance.picking import budget_places, pick_highest

_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Length:
    """The longest completions (Zhao et al. 2024, arXiv 2402.04833), a baseline hard to beat there.

    On a task without completions, the length of the row's text. The lowest row among equals.

    keep: the `longest`, as in the paper, or the `shortest`.
    unit: `words`, runs of letters, digits and underscores, or `characters`, for languages that do
    not part words by blanks. Tokens, the paper's unit, would make the choice depend on a model.
    """

    keep: Literal["longest", "shortest"] = "longest"
    unit: Literal["words", "characters"] = "words"

    def distill(self, task: TaskData, budget: Budget, context: StageContext) -> DistilledData:
        """A selection of train rows, the most extreme first; with classes, class by class."""
        del context
        columns = task.input_columns
        if COMPLETION_COLUMN in columns:
            columns = (COMPLETION_COLUMN,)
        lengths = text_lengths(joined_texts(task.train, columns), self.unit)
        signed = lengths if self.keep == "longest" else -lengths
        chosen = pick_highest(signed, budget_places(task, budget)).rows
        report = {
            "mean_length": float(lengths.mean()),
            "mean_length_chosen": float(lengths[chosen].mean()),
        }
        return DistilledData.select(task, chosen, report=report)


def text_lengths(texts: list[str], unit: Literal["words", "characters"]) -> np.ndarray:
    """[n] words or characters of each text, float64."""
    count = len if unit == "characters" else lambda text: len(_WORD.findall(text))
    return np.array([count(text) for text in texts], dtype=np.float64)
