"""Instruction tasks from a user's own data: a file, or any data set of the hub."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from harness.data.sources import DataLocator, HubOptions, read_files
from harness.data.texts import require_column
from harness.errors import UsageError
from harness.kit.text.templates import Template
from harness.options import HeldOutShare, Natural
from harness.types import (
    ANSWER_COLUMN,
    CHOICES_COLUMN,
    INSTRUCTION_COLUMNS,
    SUBTASK_COLUMN,
    DataSource,
    TaskData,
)
from harness_instruct.instructions import (
    Instruction,
    read_columns,
    read_instructions,
)
from harness_instruct.pools import OWN, POOL_TEMPLATE, load_pool
from harness_instruct.splits import split_instructions
from harness_instruct.tasks import joint_source

if TYPE_CHECKING:
    from datasets import Dataset

Metric = Literal["", "acc", "acc_norm", "acc_bytes", "token_likelihood", "greedy_match"]


@dataclass(frozen=True)
class InstructionTableTask:
    """What an instruction task made of a user's table can be told.

    template, completion: texts with `{column}` where a row's value goes.
    choices, answer: columns with the choices and the number of the right one, for multiple
    choice; the completion is then the right choice. subtask: a column that names a row's subtask.
    metric: what ranks; `acc_norm` with choices and `token_likelihood` without when empty.
    pool: `self`, `p3` or a file, see the task `arc-easy`; pool_template: of such a pool's prompts.
    validation, test: a file or split of its own; carved from the rest by hash when empty.
    validation_share, test_share: of the rows, where they are carved.
    limit: rows kept of validation and of test, chosen by hash; all when 0.
    """

    template: str = "{prompt} "
    completion: str = "{completion}"
    choices: str = ""
    answer: str = ANSWER_COLUMN
    subtask: str = ""
    metric: Metric = ""
    pool: str = OWN
    pool_template: str = POOL_TEMPLATE
    validation: str = ""
    test: str = ""
    validation_share: HeldOutShare = 0.1
    test_share: HeldOutShare = 0.1
    limit: Natural = 0

    def __post_init__(self) -> None:
        for text in (self.template, self.completion):
            Template(text)
        if self.metric.startswith("acc") and not self.choices:
            raise UsageError(
                f"metric '{self.metric}' needs choices",
                hint="Name their column with the option 'choices'.",
            )

    def _task(
        self, name: str, tables: Mapping[str, Dataset], source: DataSource, locator: DataLocator
    ) -> TaskData:
        """The task made of the tables `train` and, where they are given, `validation`, `test`."""
        pool = load_pool(self.pool, self.pool_template, locator)
        rows = {s: self._rows(table, f"the {s} split of '{name}'") for s, table in tables.items()}
        scoring = (
            *((CHOICES_COLUMN, ANSWER_COLUMN) if self.choices else ()),
            *((SUBTASK_COLUMN,) if self.subtask else ()),
        )
        splits, notes = split_instructions(
            rows,
            validation=lambda available: round(available * self.validation_share),
            test=lambda available: round(available * self.test_share),
            pool=pool,
            limit=self.limit,
            scoring=scoring,
        )
        return TaskData(
            name=name,
            modality="instruction",
            version=1,
            metric=self.metric or ("acc_norm" if self.choices else "token_likelihood"),
            input_columns=INSTRUCTION_COLUMNS,
            label_names=(),
            splits=splits,
            source=joint_source(source, pool),
            notes=notes,
            scoring_columns=scoring,
        )

    def _rows(self, table: Dataset, where: str) -> list[Instruction]:
        if self.choices:
            rows = self._questions(table, where)
        else:
            rows = read_instructions(
                table, Template(self.template), Template(self.completion), where
            )
        if not self.subtask:
            return rows
        names = read_columns(table, (self.subtask,), where)
        return [replace(r, subtask=n[self.subtask]) for r, n in zip(rows, names, strict=True)]

    def _questions(self, table: Dataset, where: str) -> list[Instruction]:
        template = Template(self.template)
        template.check(table.column_names, where)
        for column in (self.choices, self.answer):
            require_column(table, column, where)
        values = read_columns(table, template.fields, where)
        rows = zip(values, table[self.choices][:], table[self.answer][:], strict=True)
        made = []
        for number, (row, choices, answer) in enumerate(rows, start=1):
            fine = isinstance(choices, list) and all(isinstance(c, str) for c in choices)
            if not fine or type(answer) is not int or not 0 <= answer < len(choices):
                raise UsageError(
                    f"row {number} of {where} has the answer {answer!r} to the choices {choices!r}",
                    hint="Choices are a list of texts, the answer is a number from 0.",
                )
            texts = tuple(choice.strip() for choice in choices)
            made.append(Instruction(template.fill(row), texts[answer], texts, answer))
        return made


@dataclass(frozen=True)
class InstructionFile(InstructionTableTask):
    """A JSONL, CSV or Parquet file; `validation` and `test` name files of their own.

    path: of the file.
    """

    path: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.path:
            raise UsageError("the task needs a file: instruct-jsonl:PATH")

    def load(self, locator: DataLocator) -> TaskData:
        """Raises UsageError or HarnessError for a file or rows that cannot be used."""
        found = read_files(self.path, self.validation, self.test)
        name = f"instruct-jsonl:{Path(self.path).name}"
        return self._task(name, found.splits, found.source, locator)


@dataclass(frozen=True)
class InstructionHub(HubOptions, InstructionTableTask):
    """A data set of the hub; `train`, the pool, `validation` and `test` name its splits."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.dataset:
            raise UsageError("the task needs a data set of the hub: instruct-hf:OWNER/NAME")

    def load(self, locator: DataLocator) -> TaskData:
        """Raises MissingDependencyError without the hub, UsageError for rows that do not fit."""
        found = self.found(locator)
        return self._task(f"instruct-hf:{self.dataset}", found.splits, found.source, locator)
