"""What the fair split is told of instructions: prompts count down to their letters and digits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from harness.data.splitting import RowKeys, Size, order_key, split_rows, word_key
from harness.types import Split
from harness_instruct.instructions import Instruction, instruction_table
from harness_instruct.pools import Pool

if TYPE_CHECKING:
    from datasets import Dataset

Rows = Sequence[Instruction]


def split_instructions(
    tables: Mapping[str, Rows],
    *,
    validation: Size,
    test: Size = lambda available: 0,
    pool: Pool | None = None,
    limit: int = 0,
    scoring: Sequence[str] = (),
) -> tuple[dict[Split, Dataset], tuple[str, ...]]:
    """The pool as train, the target's two splits, and notes of what was done.

    Args:
        tables: `train`, the target's own, and, where they are given, `validation` and `test`.
        validation, test: prompts to carve for a number of rows to carve from, if not given.
        pool: what takes the place of what is left of train.
        limit: rows kept of validation and of test, the first by hash; all when 0.
        scoring: further columns of the target's splits.

    Raises:
        UsageError: nothing is left of a split.
    """
    every = tables if pool is None else {**tables, "pool": pool.rows}
    made = split_rows(
        {name: _keys(rows) for name, rows in every.items()},
        {"validation": validation, "test": test},
        noun="prompt",
        limit=limit,
    )
    rows = made.rows(every, lambda rows, positions: [rows[n] for n in positions])
    return {
        split: instruction_table(own, () if split == "train" else scoring)
        for split, own in rows.items()
    }, made.notes


def _keys(rows: Rows) -> RowKeys:
    content = [word_key(row.prompt) for row in rows]
    return RowKeys(
        content=content,
        order=[order_key(words) for words in content],
        exact=[
            (words, row.completion) if row.prompt.strip() and row.completion.strip() else None
            for words, row in zip(content, rows, strict=True)
        ],
    )
