"""Pools of instructions to choose from: P3, others by name, or a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.data.row_files import read_rows
from harness.data.sources import DataLocator
from harness.errors import UsageError
from harness.kit.text.templates import Template
from harness.types import DataSource
from harness_instruct.instructions import Instruction, read_instructions

OWN = "self"
P3 = "p3"
POOL_TEMPLATE = "{prompt} "
POOL_COMPLETION = "{completion}"

_FOLDER, _SPLIT = "instructions", "t0_train_short"


@dataclass(frozen=True)
class Pool:
    """Instructions and where they were found."""

    rows: Sequence[Instruction]
    source: DataSource


def load_pool(name: str, template: str, locator: DataLocator) -> Pool | None:
    """The pool `p3`, or a file with the columns that the template asks for and `completion`.

    None for `self`, the task's own train split.

    P3 is the mixture of prompted data sets that T0 was trained on (Sanh et al. 2022), here a
    sample of short ones: `instructions/t0_train_short.jsonl.gz` in the data folder.

    Raises:
        UsageError: neither a known pool nor a file.
        MissingDependencyError: the named pool is not on this machine.
    """
    if name == OWN:
        return None
    templates = Template(template), Template(POOL_COMPLETION)
    if name == P3:
        found = locator.find(_FOLDER, (_SPLIT,))
        rows = read_instructions(found.splits[_SPLIT], *templates, f"pool '{P3}'")
        return Pool(rows, found.source)
    path = Path(name).expanduser()
    if not path.is_file():
        raise UsageError(
            f"'{name}' is neither a pool nor a file",
            hint=f"Known pools: {OWN}, the task's own train split, and {P3}. A file is JSONL, CSV"
            " or Parquet with the columns prompt and completion.",
        )
    rows = read_instructions(read_rows(path), *templates, f"pool '{path.name}'")
    return Pool(rows, DataSource("file", path.name))
