"""What the fair split is told of labelled texts.

Two texts are the same without case and with single blanks; down to letters and digits they may
not stand in two splits. Pairs go by their first text, so that those that share it mostly stay on
one side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.data.splitting import RowKeys, Size, order_key, split_rows, word_key
from harness.types import Split
from harness_text.labelled import LabelledTexts


def split_texts(
    tables: Mapping[str, LabelledTexts], label_names: Sequence[str], *, validation: Size, test: Size
) -> tuple[dict[Split, LabelledTexts], tuple[str, ...]]:
    """The three splits, in the classes' shares, and notes of what was done.

    Args:
        tables: `train` and, where they are given, `validation` and `test`.
        validation, test: rows to carve for a number of rows to carve from, if not given.

    Raises:
        UsageError: a class has too few rows, or nothing is left of a split.
    """
    made = split_rows(
        {name: _keys(tables[name]) for name in ("validation", "train", "test") if name in tables},
        {"validation": validation, "test": test},
        noun="text",
        found="is also in",
        label_names=label_names,
    )
    return made.rows(tables, LabelledTexts.take), made.notes


def _keys(rows: LabelledTexts) -> RowKeys:
    columns = [[" ".join(t.casefold().split()) for t in texts] for texts in rows.texts.values()]
    words = [[word_key(text) for text in texts] for texts in columns]
    return RowKeys(
        content=list(zip(*words, strict=True)),
        order=[order_key(text) for text in words[0]],
        exact=list(zip(*columns, strict=True)),
        labels=rows.labels.tolist(),
    )
