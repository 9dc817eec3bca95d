"""The data types of the flow: task data, distilled data, recipe, score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from harness.budget import Budget
from harness.errors import ContractError
from harness.options import Count, NonNegative, Share

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset


Modality = Literal["text-classification", "instruction", "image-text"]
Split = Literal["train", "validation", "test"]
LABEL_COLUMN = "label"
PROMPT_COLUMN, COMPLETION_COLUMN = "prompt", "completion"
CHOICES_COLUMN, ANSWER_COLUMN, SUBTASK_COLUMN = "choices", "answer", "subtask"
IMAGE_COLUMN, CAPTION_COLUMN = "image", "caption"
INSTRUCTION_COLUMNS = (PROMPT_COLUMN, COMPLETION_COLUMN)
IMAGE_TEXT_COLUMNS = (IMAGE_COLUMN, CAPTION_COLUMN)
"""The columns that tasks have by these names; see `TaskData`."""


@dataclass(frozen=True)
class DataSource:
    """Where a task's rows came from: part of the fingerprint, so it holds no local path.

    kind: `folder`, `package`, `hub` or `file`; detail: what was read, with its version.
    """

    kind: Literal["folder", "package", "hub", "file"]
    detail: str


@dataclass(frozen=True)
class TaskData:
    """A task's rows, split once by a fixed rule.

    Every split has the columns `input_columns` and, where there are classes, an integer column
    `label` in [0, len(label_names)). `metric` names the evaluator's metric that ranks methods.
    `splits["test"]` is absent from what distillers and students are given.

    An instruction task has the input columns `prompt` and `completion` and no classes. Its train
    split is the pool to choose from; validation and test are the target, which may come from
    elsewhere and has the further columns `scoring_columns`: `choices` with `answer`, the number
    of the right one, and `subtask`, as far as the target has them.

    An image-text task has the input columns `image`, a `datasets.Image`, and `caption`, and classes
    or none. `class_texts[c]` are the texts whose mean embedding stands for class c in zero-shot
    classification: templates filled in, or descriptions.

    A distiller is given a `pool`, where the suite says so: train is then a part of `whole_train`,
    at the positions `pool`, which the distilling seed has drawn.
    """

    name: str
    modality: Modality
    version: int
    metric: str
    input_columns: tuple[str, ...]
    label_names: tuple[str, ...]
    splits: Mapping[Split, Dataset]
    source: DataSource
    notes: tuple[str, ...] = ()
    scoring_columns: tuple[str, ...] = ()
    class_texts: tuple[tuple[str, ...], ...] = ()
    whole_train: Dataset | None = None
    pool: np.ndarray | None = None

    @property
    def row_columns(self) -> tuple[str, ...]:
        """The columns of train and of every distilled set."""
        return (*self.input_columns, *((LABEL_COLUMN,) if self.label_names else ()))

    @property
    def train(self) -> Dataset:
        return self.splits["train"]

    @property
    def validation(self) -> Dataset:
        return self.splits["validation"]

    @property
    def test(self) -> Dataset:
        """The reported split.

        Raises:
            ContractError: this task was sealed for distilling or fitting.
        """
        return self.split("test")

    def split(self, name: Split) -> Dataset:
        """One split by name; a sealed task refuses `test`."""
        if name not in self.splits:
            raise ContractError(
                plugin=f"task '{self.name}'",
                field="the split in use",
                expected="train or validation: test is opened once, by the evaluator",
                got=repr(name),
            )
        return self.splits[name]

    def sealed(self) -> TaskData:
        """The same task without its test split, as distillers and students see it."""
        return replace(self, splits={k: v for k, v in self.splits.items() if k != "test"})

    def with_pool(self, positions: np.ndarray) -> TaskData:
        """The same task with train cut down to some of its rows, in the order given."""
        train = self.train.select(positions)
        splits = {**self.splits, "train": train}
        return replace(self, splits=splits, whole_train=self.train, pool=positions)

    def whole(self) -> TaskData:
        """The same task with its whole train split, for what all pools can share."""
        if self.whole_train is None:
            return self
        splits = {**self.splits, "train": self.whole_train}
        return replace(self, splits=splits, whole_train=None, pool=None)

    def class_counts(self, split: Split = "train") -> list[int]:
        """Rows of each class in a split, by label; empty for a task without classes."""
        import numpy as np

        if not self.label_names:
            return []

        labels = np.asarray(self.split(split)[LABEL_COLUMN][:])
        return np.bincount(labels, minlength=len(self.label_names)).tolist()

    def budget_rows(self, budget: Budget) -> int:
        """How many rows a budget allows of this task's train split.

        Raises:
            UsageError: more than there are, or rows of a class where there are no classes.
        """
        if not self.label_names:
            return budget.rows_of(len(self.train))
        return budget.total(self.class_counts())


@dataclass(frozen=True)
class DistilledData:
    """What a data distiller returns: rows that a student cannot tell from the train split.

    rows: the task's input columns and, where it has classes, `label`.
    indices: [n] positions in the train split, for a selection; None for synthesis.
    soft_labels: [n, classes] target probabilities; None means the hard `label`.
    weights: [n] non-negative sample weights; None means equal.
    report: finite numbers and short strings that the method says about itself.
    used_splits: the splits the method looked at; `test` is refused.
    arrays: what the rows do not say and only the method that made them can train a student on,
    such as embeddings whose nearest texts the rows are; they count towards the set's bytes.
    """

    rows: Dataset
    indices: np.ndarray | None = None
    soft_labels: np.ndarray | None = None
    weights: np.ndarray | None = None
    report: Mapping[str, float | int | str] = field(default_factory=dict)
    used_splits: tuple[Split, ...] = ("train",)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def select(
        cls,
        task: TaskData,
        indices: Sequence[int] | np.ndarray,
        *,
        report: Mapping[str, float | int | str] | None = None,
    ) -> DistilledData:
        """A selection of train rows, in the order given."""
        import numpy as np

        chosen = np.asarray(indices, dtype=np.int64)
        rows = task.train.select_columns(list(task.row_columns)).select(chosen)
        return cls(rows=rows, indices=chosen, report=report or {})


@dataclass(frozen=True)
class Recipe:
    """How every student is trained, whatever it is trained on. Owned by the suite.

    steps: optimiser updates; batch_size: rows an update (the whole set when it is smaller);
    warmup: share of the steps with a rising rate; clip_norm: 0 turns clipping off;
    max_length: tokens kept of a row; dtype: autocast type of the forward pass;
    checkpoint: `last`, or the best of `evaluations` checks on validation.
    """

    steps: Count = 100
    batch_size: Count = 64
    learning_rate: float = 1e-4
    schedule: Literal["linear", "cosine", "constant"] = "cosine"
    warmup: Share = 0.5
    weight_decay: NonNegative = 0.01
    clip_norm: NonNegative = 1.0
    max_length: Count = 128
    dtype: Literal["float32", "bfloat16"] = "float32"
    checkpoint: Literal["last", "validation"] = "last"
    evaluations: Count = 5


@dataclass(frozen=True)
class StudentInfo:
    """What stands on the board for a student: the resolved variant, its source and size.

    multiply_adds: of one row's forward pass; 0 where they were not counted.
    """

    name: str
    variant: str
    source: str
    parameters: int
    multiply_adds: int = 0


@dataclass(frozen=True)
class Score:
    """What an evaluator measured on one split.

    metrics: fractions in [0, 1] by name; main: the metric that ranks.
    items: per-item arrays of length n, always with `score` in [0, 1] (what paired tests
    compare); a classifier adds `prediction` and `target`.
    scored: n, where the items are not all rows of the split in their order: only the first
    ones, or documents of the evaluator's own; None where they are.
    """

    metrics: Mapping[str, float]
    main: str
    items: Mapping[str, np.ndarray]
    scored: int | None = None

    @property
    def value(self) -> float:
        return self.metrics[self.main]


@dataclass(frozen=True)
class LogLikelihoods:
    """How probable a language model finds some continuations of their prompts.

    sums: [n] log-probabilities in nats, summed over a continuation's tokens; greedy: [n] whether
    each of these tokens is the most probable one in its place; tokens: [n] how many there are.
    """

    sums: np.ndarray
    greedy: np.ndarray
    tokens: np.ndarray
