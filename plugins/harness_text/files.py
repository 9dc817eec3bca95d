"""Tasks from a user's own data: a CSV or JSONL file, or any data set of the hub."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from harness.data.row_files import read_csv, read_jsonl
from harness.data.sources import DataLocator, HubOptions, read_files
from harness.data.texts import require_column
from harness.errors import UsageError
from harness.options import HeldOutShare
from harness.types import LABEL_COLUMN, DataSource, TaskData
from harness_text.classes import Classes, label_texts
from harness_text.labelled import LabelledTexts, empty_texts, read_texts
from harness_text.splits import split_texts

if TYPE_CHECKING:
    from datasets import Dataset

Metric = Literal["accuracy", "macro_f1", "f1", "accuracy_f1"]
TWO_CLASS_METRICS = ("f1", "accuracy_f1")


@dataclass(frozen=True)
class LabelledTableTask:
    """What a task made of a user's table can be told.

    text: the text column, or two for pairs of texts; label: the label column.
    label_values: its values in the order of their class numbers; sorted when empty.
    label_names: what to call the classes, in the same order; their values when empty.
    metric: what ranks; `f1` is of the second of two classes, `accuracy_f1` its mean
    with accuracy.
    validation, test: a file or split of its own; carved from the rest by hash when empty.
    validation_share, test_share: of the rows, where they are carved.
    drop_empty: leave rows without text out, rather than refuse them.
    """

    text: tuple[str, ...] = ("text",)
    label: str = LABEL_COLUMN
    label_values: tuple[str, ...] = ()
    label_names: tuple[str, ...] = ()
    metric: Metric = "accuracy"
    validation: str = ""
    test: str = ""
    validation_share: HeldOutShare = 0.1
    test_share: HeldOutShare = 0.1
    drop_empty: bool = False

    def __post_init__(self) -> None:
        if not 1 <= len(self.text) <= 2 or len(set(self.text)) < len(self.text):
            raise UsageError(f"text = {','.join(self.text)!r} should name one or two columns")
        if self.label in self.text:
            raise UsageError(f"column '{self.label}' cannot be both text and label")
        if LABEL_COLUMN in self.text:
            raise UsageError(
                f"a text column cannot be called '{LABEL_COLUMN}': that is the label's name",
                hint="Rename it in the data.",
            )

    def _task(self, name: str, tables: Mapping[str, Dataset], source: DataSource) -> TaskData:
        """The task made of the tables `train` and, where they are given, `validation`, `test`."""
        where = {split: f"the {split} split of '{name}'" for split in tables}
        classes = self._classes(tables["train"], where["train"])
        notes: list[str] = []
        rows = {s: self._rows(table, classes, where[s], s, notes) for s, table in tables.items()}
        splits, done = split_texts(
            rows,
            classes.names,
            validation=lambda available: round(available * self.validation_share),
            test=lambda available: round(available * self.test_share),
        )
        for split in ("validation", "test"):
            absent = [classes.names[c] for c in _absent(splits[split], len(classes.names))]
            if absent:
                notes.append(f"{split}: no rows of {', '.join(absent)}")
        return TaskData(
            name=name,
            modality="text-classification",
            version=1,
            metric=self.metric,
            input_columns=self.text,
            label_names=classes.names,
            splits={split: rows.dataset() for split, rows in splits.items()},
            source=source,
            notes=(*notes, *done),
        )

    def _classes(self, train: Dataset, where: str) -> Classes:
        """The classes as the options name them, else as the table does, else as train has them."""
        require_column(train, self.label, where)
        named = _class_names(train, self.label)
        try:
            if self.label_values:
                classes = Classes(self.label_values, self.label_names or self.label_values)
            elif named:
                classes = Classes(named, self.label_names or named)
            else:
                classes = Classes.of(_labels(train, self.label, where), self.label_names)
        except UsageError as error:
            raise UsageError(
                f"column '{self.label}' of {where}: {error.message}", hint=error.hint
            ) from error
        if self.metric in TWO_CLASS_METRICS and len(classes.names) != 2:
            raise UsageError(
                f"metric '{self.metric}' is for two classes, {where} has {len(classes.names)}",
                hint="accuracy and macro_f1 suit any number of classes.",
            )
        return classes

    def _rows(
        self, table: Dataset, classes: Classes, where: str, split: str, notes: list[str]
    ) -> LabelledTexts:
        texts = read_texts(table, self.text, where)
        labels = classes.encode(_labels(table, self.label, where), where)
        every = LabelledTexts(texts, labels)
        empty = empty_texts(texts)
        if not empty:
            return every
        first = min(empty, key=lambda found: found[1])
        count = len({position for _, position in empty})
        if not self.drop_empty:
            raise UsageError(
                f"{count} rows of {where} lack a text; the first is row {first[1] + 1},"
                f" column '{first[0]}'",
                hint="--set task.drop_empty=true leaves them out.",
            )
        notes.append(f"{split}: {count} rows removed that lack a text")
        return every.without_empty()


@dataclass(frozen=True)
class FileTask(LabelledTableTask):
    """A table in a file; `validation` and `test` name files of the same kind.

    path: of the file.
    """

    path: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.path:
            raise UsageError("the task needs a file: csv:PATH or jsonl:PATH")

    def _load(self, kind: str, read: Callable[[Path], Dataset]) -> TaskData:
        found = read_files(self.path, self.validation, self.test, read)
        return self._task(f"{kind}:{Path(self.path).name}", found.splits, found.source)


@dataclass(frozen=True)
class CsvTask(FileTask):
    """A CSV file with a header, packed or not.

    delimiter: one character, or `tab`.
    """

    delimiter: str = ","

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.delimiter != "tab" and len(self.delimiter) != 1:
            raise UsageError(f"delimiter = '{self.delimiter}' should be one character or 'tab'")

    def load(self, locator: DataLocator) -> TaskData:
        """Raises UsageError or HarnessError for a file or rows that cannot be used."""
        del locator
        delimiter = "\t" if self.delimiter == "tab" else self.delimiter
        return self._load("csv", lambda path: read_csv(path, delimiter))


@dataclass(frozen=True)
class JsonlTask(FileTask):
    """A file with one JSON object a line, packed or not."""

    def load(self, locator: DataLocator) -> TaskData:
        """Raises UsageError or HarnessError for a file or rows that cannot be used."""
        del locator
        return self._load("jsonl", read_jsonl)


@dataclass(frozen=True)
class HubTask(HubOptions, LabelledTableTask):
    """A data set of the hub; `train`, `validation` and `test` name its splits.

    Splits without labels, such as GLUE's test splits, are refused.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.dataset:
            raise UsageError("the task needs a data set of the hub: hf:OWNER/NAME")

    def load(self, locator: DataLocator) -> TaskData:
        """Raises MissingDependencyError without the hub, UsageError for rows that do not fit."""
        found = self.found(locator)
        return self._task(f"hf:{self.dataset}", found.splits, found.source)


def _labels(table: Dataset, column: str, where: str) -> list[str]:
    """Labels as text; numbers of a column that names its classes become those names."""
    require_column(table, column, where)
    values = table[column][:]
    names = _class_names(table, column)
    if names:
        values = [names[v] if v is not None and 0 <= v < len(names) else v for v in values]
    return label_texts(values, where)


def _class_names(table: Dataset, column: str) -> tuple[str, ...]:
    return tuple(getattr(table.features[column], "names", ()))


def _absent(rows: LabelledTexts, classes: int) -> np.ndarray:
    return np.flatnonzero(np.bincount(rows.labels, minlength=classes) == 0)
