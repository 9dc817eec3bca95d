"""The base of linear students: a logistic regression on frozen text vectors."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Generic, Protocol, TypeVar

import numpy as np

from harness.options import Positive
from harness.randomness import derive_seed
from harness.types import LABEL_COLUMN, DistilledData, Recipe, StudentInfo, TaskData
from harness_frozen.linear_head import LinearHead, fit_head

if TYPE_CHECKING:
    from datasets import Dataset

    from harness.context import StageContext

_META = "probe.json"


class VectorReader(Protocol):
    """Turns rows of one task into vectors.

    max_length: tokens kept of a row.
    """

    max_length: int

    def read(self, rows: Dataset, context: StageContext | None = None) -> np.ndarray:
        """[n, d] float32, in the order of `rows`."""


Reader = TypeVar("Reader", bound=VectorReader)


class LinearStudent(ABC, Generic[Reader]):
    """Logistic regression on frozen vectors of texts.

    Nothing is drawn at random, so seeds differ by their sets alone. The recipe's learning rate
    means nothing here, its steps and batch size bound the rows that are looked at.

    penalty: of half the squared weights, against the sum of the rows' cross-entropies; vectors
        are standardised by the training rows first.
    """

    penalty: Positive

    modalities: ClassVar[tuple[str, ...]] = ("text-classification",)
    offers: ClassVar[tuple[str, ...]] = ("predict",)

    @abstractmethod
    def reader(self, task: TaskData, max_length: int, context: StageContext) -> Reader:
        """What makes vectors of this task's rows."""

    @abstractmethod
    def info(self, reader: Reader, head: LinearHead) -> StudentInfo:
        """Of the vectors' model and the head together."""

    def fit(
        self, task: TaskData, data: DistilledData, recipe: Recipe, context: StageContext
    ) -> FittedLinear:
        """The classifier of a set's rows, with their soft labels and weights.

        Of more rows than the recipe's steps see, as many as they see, drawn once for all seeds.
        Without rows every class is as probable as another.
        """
        reader = self.reader(task, recipe.max_length, context)
        chosen = _looked_at(len(data.rows), recipe)
        classes = len(task.label_names)
        head = LinearHead.uniform(classes)
        if len(chosen):
            labels = np.asarray(data.rows[LABEL_COLUMN])
            head = fit_head(
                reader.read(data.rows.select(chosen), context),
                (labels if data.soft_labels is None else data.soft_labels)[chosen],
                np.ones(len(chosen)) if data.weights is None else data.weights[chosen],
                classes,
                self.penalty,
            )
        return FittedLinear(reader, head, self.info(reader, head))

    def load(self, folder: Path, task: TaskData, context: StageContext) -> FittedLinear:
        """Reads what `FittedLinear.save` wrote."""
        max_length = json.loads((folder / _META).read_text())["max_length"]
        reader, head = self.reader(task, max_length, context), LinearHead.load(folder)
        return FittedLinear(reader, head, self.info(reader, head))


@dataclass(frozen=True)
class FittedLinear:
    """A linear head that has seen its rows."""

    reader: VectorReader
    head: LinearHead
    info: StudentInfo

    def predict(self, rows: Dataset, context: StageContext | None = None) -> np.ndarray:
        """Class probabilities, [n, classes], in the order of `rows`."""
        if self.head.width == 0:
            return self.head.probabilities(np.zeros((len(rows), 0)))
        return self.head.probabilities(self.reader.read(rows, context))

    def save(self, folder: Path) -> None:
        """Writes the head; where the vectors come from is known to the student."""
        folder.mkdir(parents=True, exist_ok=True)
        self.head.save(folder)
        (folder / _META).write_text(json.dumps({"max_length": self.reader.max_length}))


def _looked_at(count: int, recipe: Recipe) -> np.ndarray:
    """Positions of the rows that the recipe's steps have time for, in order."""
    most = recipe.steps * recipe.batch_size
    if count <= most:
        return np.arange(count)
    generator = np.random.default_rng(derive_seed("probe rows"))
    return np.sort(generator.permutation(count)[:most])
