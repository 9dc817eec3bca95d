"""Class names of a label column: text, integers, booleans or numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.errors import UsageError


@dataclass(frozen=True)
class Classes:
    """The values of a label column, in the order of their class numbers, and what to call them."""

    values: tuple[str, ...]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.values) < 2:
            raise UsageError(f"one class only, {', '.join(map(repr, self.values))}: needs two")
        if len(set(self.values)) < len(self.values):
            raise UsageError(f"a label value is named twice: {', '.join(self.values)}")
        if len(self.names) != len(self.values):
            raise UsageError(
                f"{len(self.names)} label names for {len(self.values)} classes",
                hint=f"The classes: {', '.join(self.values)}.",
            )

    @classmethod
    def of(cls, values: Sequence[str], names: Sequence[str] = ()) -> Classes:
        """The distinct values, sorted: as numbers where all are numbers, else as text."""
        distinct = sorted(set(values), key=_sort_key(values))
        return cls(tuple(distinct), tuple(names) or tuple(distinct))

    def encode(self, values: Sequence[str], where: str) -> np.ndarray:
        """Class numbers, [n] int64.

        Raises:
            UsageError: a value that is none of the classes.
        """
        number = {value: c for c, value in enumerate(self.values)}
        for row, value in enumerate(values, start=1):
            if value not in number:
                raise UsageError(
                    f"row {row} of {where} has the label '{value}', which is none of the classes",
                    hint=f"The classes: {', '.join(self.values)}.",
                )
        return np.array([number[value] for value in values], dtype=np.int64)


def label_texts(values: Sequence[Any], where: str) -> list[str]:
    """Labels as text: `true` and `false`, integers without a fraction, text without blanks around.

    Raises:
        UsageError: a row without a label, or with something that cannot be one.
    """
    texts = []
    for row, value in enumerate(values, start=1):
        text = _label_text(value)
        if not text:
            problem = "no label" if value is None or text == "" else f"the label {value!r}"
            raise UsageError(f"row {row} of {where} has {problem}")
        texts.append(text)
    return texts


def _label_text(value: Any) -> str | None:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, int | str):
        return str(value).strip()
    return str(value) if isinstance(value, float) and np.isfinite(value) else None


def _sort_key(values: Sequence[str]) -> Any:
    try:
        numbers = {value: float(value) for value in set(values)}
    except ValueError:
        return str
    return lambda value: (numbers[value], value)
