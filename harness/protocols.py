"""What plugins implement: tasks, distillers, students, evaluators, and what a student offers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from harness.budget import Budget
from harness.records.record import TaskRecord as TaskRecord
from harness.types import (
    DistilledData,
    LogLikelihoods,
    Modality,
    Recipe,
    Score,
    Split,
    StudentInfo,
    TaskData,
)

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset

    from harness.context import StageContext
    from harness.data.sources import DataLocator


@runtime_checkable
class Task(Protocol):
    """Finds its data and splits it. Options are the fields of the implementing dataclass."""

    def load(self, locator: DataLocator) -> TaskData: ...


@runtime_checkable
class Distiller(Protocol):
    """Turns a task's train split and a budget into `DistilledData`.

    Options are the fields of the implementing dataclass. A field `proxy: str = ""` left empty
    is filled with the suite's proxy student. Everything random comes from the context.
    """

    def distill(self, task: TaskData, budget: Budget, context: StageContext) -> DistilledData: ...


@runtime_checkable
class ArraysDistiller(Distiller, Protocol):
    """Makes rows with `DistilledData.arrays`, on which only it can train a student."""

    def train(
        self,
        task: TaskData,
        student: Student,
        data: DistilledData,
        recipe: Recipe,
        context: StageContext,
    ) -> Trained:
        """The student trained on `data` under the suite's recipe."""


@runtime_checkable
class ModelDistiller(Protocol):
    """Trains a student with a teacher's help: what it makes is the model, not the data.

    Options are the fields of the implementing dataclass. A field `teacher: str = ""` left empty is
    filled with the suite's teacher, a student's name. Everything random comes from the context.
    """

    def fit(
        self, task: TaskData, student: Student, recipe: Recipe, context: StageContext
    ) -> Trained:
        """The student trained on the whole train split under the suite's recipe.

        As many steps, rows a step and rates as the recipe says, whatever the loss.
        """


@runtime_checkable
class Trained(Protocol):
    """A fitted student; offers the capabilities that evaluators need, `predict` for one."""

    info: StudentInfo

    def save(self, folder: Path) -> None:
        """Makes the folder; weights as safetensors, and whatever else `Student.load` needs."""


@runtime_checkable
class Predictor(Trained, Protocol):
    def predict(self, rows: Dataset, context: StageContext | None = None) -> np.ndarray:
        """Class probabilities, [n, classes], in the order of `rows`."""


@runtime_checkable
class LanguageModel(Trained, Protocol):
    def loglikelihood(
        self, pairs: Sequence[tuple[str, str]], context: StageContext | None = None
    ) -> LogLikelihoods:
        """The log-likelihoods of (prompt, continuation) pairs, in their order."""


@runtime_checkable
class ImageTextModel(Trained, Protocol):
    """Puts images and texts into one space, where what belongs together is near."""

    def encode_image(self, rows: Dataset, context: StageContext | None = None) -> np.ndarray:
        """Unit embeddings of the column `image`, [n, width] float32, in the order of `rows`."""

    def encode_text(self, texts: Sequence[str], context: StageContext | None = None) -> np.ndarray:
        """Unit embeddings, [n, width] float32, in the order of `texts`."""


@runtime_checkable
class Student(Protocol):
    """A model family; the variant and other options are fields of the implementing dataclass."""

    def fingerprint(self) -> str:
        """What the initial weights are: package and version, hub id and revision, or hash."""

    def fit(
        self, task: TaskData, data: DistilledData, recipe: Recipe, context: StageContext
    ) -> Trained:
        """Trains a fresh student; the same inputs and context seed give the same weights."""

    def load(self, folder: Path, task: TaskData, context: StageContext) -> Trained:
        """Reads back what `Trained.save` wrote."""


@runtime_checkable
class Evaluator(Protocol):
    """Scores a trained student on one split of a task."""

    needs: ClassVar[tuple[str, ...]]
    """Methods that the trained student must offer, such as `predict`."""

    def evaluate(
        self, trained: Any, task: TaskData, split: Split, context: StageContext
    ) -> Score: ...


# What a component may have besides: whoever has a member of these names is taken at its word.


@runtime_checkable
class ForModalities(Protocol):
    """A student, an evaluator or a distiller that is for some kinds of task only.

    A plan with another task is refused before it costs anything.
    """

    modalities: ClassVar[tuple[Modality, ...]]


@runtime_checkable
class Offering(Protocol):
    """A student that says what evaluators get: a plan that needs more is refused beforehand."""

    offers: ClassVar[tuple[str, ...]]
    """Methods and attributes of what `fit` gives, such as `predict`: all that may be needed."""


@runtime_checkable
class UsesStudents(Protocol):
    """A student or a distiller that builds on other students, besides its proxy and teacher."""

    @property
    def uses_students(self) -> tuple[str, ...]:
        """Their names; what these students are is part of its key."""


@runtime_checkable
class Fingerprinted(Protocol):
    """Any component whose results depend on more than its version and options."""

    def fingerprint(self) -> str:
        """What else they depend on, such as a file's hash: part of its key."""


@runtime_checkable
class BuildsModel(Protocol):
    """A student that gives its model away, for others to train or to read texts with."""

    def build(self, task: TaskData, context: StageContext) -> Any:
        """The model before any training; what is new in it is drawn from the context's seed."""


@runtime_checkable
class FromPretrained(Protocol):
    """A student that can begin with weights that were trained before: no teacher is made of it."""

    pretrained: str
    """Which weights; empty for random ones."""


@runtime_checkable
class Chatting(Protocol):
    """A trained language model that says how its prompts are written."""

    chat: bool
    """Whether through the tokenizer's chat template."""


@runtime_checkable
class Checking(Protocol):
    """An evaluator that can say of a plan that it could not score it, before it costs anything."""

    def check(self, task: TaskData, students: Mapping[str, Student], *, tunes: bool) -> None:
        """Looks at a task without its test split, and the students that are to be scored on it.

        students: by name, as a board shows it. tunes: whether it is to choose a learning rate on
        validation, besides scoring.

        Raises:
            UsageError, ContractError: it could not score them.
        """


@runtime_checkable
class Recomputing(Protocol):
    """An evaluator whose records `harness results verify` can check."""

    def recompute(self, items: Mapping[str, np.ndarray], task: TaskRecord) -> Mapping[str, float]:
        """The metrics that follow from a record's `items`, as `evaluate` gave them, to 1e-6.

        task: the record's facts, such as `label_names`.
        Raises ContractError when an array is missing, or two of them contradict each other.
        """
