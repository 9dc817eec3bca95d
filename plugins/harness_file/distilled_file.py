"""The distiller `file`: rows read from a file or the hub."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harness.budget import Budget
from harness.context import StageContext
from harness.data.row_files import read_rows
from harness.data.sources import DataLocator, HubDataset
from harness.errors import UsageError
from harness.types import DistilledData, TaskData
from harness_file.columns import set_columns

if TYPE_CHECKING:
    from datasets import Dataset

HUB = "hf:"
_PLACES = re.compile(r"\{(seed|budget)\}")
_BLOCK = 1 << 20


@dataclass(frozen=True)
class DistilledFile:
    """Existing rows as a distilled set: JSONL, CSV or Parquet, or a data set of the hub.

    path: of the file, or `hf:OWNER/NAME`. `{seed}` and `{budget}` in it stand for the distilling
    seed and the budget's number, where each has a file of its own.
    set: the column that numbers several sets in one table; seed s takes set s. A table without
    this column is one set for all seeds.
    text: the columns of the task's texts, in their order; the task's own names when empty.
    label: the column of class numbers or class names.
    soft_label: a column of lists of class probabilities; weight: one of sample weights. Both are
    used when the table has them, as what `harness distill` writes does.
    split, revision, configuration: which part of a data set of the hub.
    """

    path: str = ""
    set: str = "set"
    text: tuple[str, ...] = ()
    label: str = "label"
    soft_label: str = "soft_label"
    weight: str = "weight"
    split: str = "train"
    revision: str = ""
    configuration: str = ""

    def __post_init__(self) -> None:
        if not self.path:
            raise UsageError("the distiller 'file' needs a path: file:PATH or file:hf:OWNER/NAME")
        if not self._is_hub and not self._files:
            kind = "file matches" if _PLACES.search(self.path) else "file"
            raise UsageError(f"there is no {kind} '{self.path}'")

    def fingerprint(self) -> str:
        """The content that all seeds and budgets may read, so that a changed file is a new key."""
        if self._is_hub:
            return self._hub[1]
        digest = hashlib.sha256()
        for file in self._files:
            digest.update(f"{file.name}\0".encode())
            with file.open("rb") as content:
                while block := content.read(_BLOCK):
                    digest.update(block)
        return f"sha256:{digest.hexdigest()}"

    def distill(self, task: TaskData, budget: Budget, context: StageContext) -> DistilledData:
        """The rows of this seed and budget, in the order of the table.

        Raises:
            UsageError: no such file or set, a column that is missing, labels that are none of
                the task's, or more rows than the budget allows.
        """
        where, table = self._table(budget, context.listed_seed)
        columns = set_columns(task, table.column_names, self, where)
        rows = columns.rows(self._of_seed(table, context.listed_seed, where))
        allowed = task.budget_rows(budget)
        if len(rows.rows) > allowed:
            raise UsageError(
                f"{where} has {len(rows.rows)} rows, the budget {budget} allows {allowed}",
                hint="Write {budget} into the path where each budget has a file, or raise it.",
            )
        return rows

    def _table(self, budget: Budget, seed: int) -> tuple[str, Dataset]:
        if self._is_hub:
            return self.path, self._hub[0]
        number = f"{budget.amount:g}"
        path = self.path.replace("{seed}", str(seed)).replace("{budget}", number)
        return Path(path).name, read_rows(Path(path).expanduser())

    def _of_seed(self, table: Dataset, seed: int, where: str) -> Dataset:
        if self.set not in table.column_names:
            return table
        sets = np.asarray([str(value) for value in table[self.set][:]])
        chosen = np.flatnonzero(sets == str(seed))
        if len(chosen) == 0:
            known = ", ".join(dict.fromkeys(sets.tolist()))
            raise UsageError(
                f"{where} has no set {seed} for distilling seed {seed}",
                hint=f"Its sets, by column '{self.set}': {known}.",
            )
        return table.select(chosen)

    @property
    def _is_hub(self) -> bool:
        return self.path.startswith(HUB)

    @cached_property
    def _files(self) -> list[Path]:
        """Every file that some seed and budget would read."""
        pattern = Path(_PLACES.sub("*", self.path)).expanduser()
        return sorted(file for file in pattern.parent.glob(pattern.name) if file.is_file())

    @cached_property
    def _hub(self) -> tuple[Dataset, str]:
        """The rows on the hub, and which commit of it they are."""
        hub = HubDataset(self.path.removeprefix(HUB), self.revision, self.configuration)
        found = DataLocator().from_hub(hub, [self.split])
        return found.splits[self.split], f"{found.source.detail} {self.split}"
