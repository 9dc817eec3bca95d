"""Budgets: rows of each class, in total or in percent of train, and even shares among classes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harness.errors import UsageError

Unit = Literal["class", "rows", "percent"]

_FORMS = "write 20/class, 200rows or 1%"
_PATTERN = re.compile(r"\s*(?P<amount>[+-]?\d+(?:\.\d+)?)\s*(?P<unit>[^\s\d.].*?)?\s*$")
_UNITS: dict[str, Unit] = {"/class": "class", "rows": "rows", "%": "percent"}


@dataclass(frozen=True, order=True)
class Budget:
    """An upper bound on rows: `amount` per class, in total, or as a percentage of train.

    `0%` is for students that are not trained at all.
    """

    unit: Unit
    amount: float

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Reads `20/class`, `200rows` or `1%`.

        Raises:
            UsageError: not positive, not whole where it must be, or without a known unit;
                0% is read.
        """
        match = _PATTERN.match(text)
        if match is None:
            raise UsageError(f"budget '{text}' is not an amount with a unit", hint=_FORMS)
        unit = _UNITS.get((match["unit"] or "").replace(" ", ""))
        if unit is None:
            found = f"the unknown unit '{match['unit']}'" if match["unit"] else "no unit"
            raise UsageError(f"budget '{text}' has {found}", hint=_FORMS)
        amount = float(match["amount"])
        if amount < 0 or (amount == 0 and unit != "percent"):
            raise UsageError(f"budget '{text}' must be positive")
        if unit != "percent" and not amount.is_integer():
            raise UsageError(f"budget '{text}' must be a whole number of rows")
        if unit == "percent" and amount > 100:
            raise UsageError(f"budget '{text}' is more than the whole train split")
        return cls(unit, amount)

    def __str__(self) -> str:
        amount = f"{self.amount:g}"
        return {"class": f"{amount}/class", "rows": f"{amount}rows", "percent": f"{amount}%"}[
            self.unit
        ]

    @property
    def is_whole(self) -> bool:
        """Whether this budget is the whole train split."""
        return self.unit == "percent" and self.amount == 100

    @property
    def is_nothing(self) -> bool:
        """Whether this budget has no rows at all."""
        return self.amount == 0

    def total(self, class_counts: Sequence[int]) -> int:
        """Rows allowed for a train split with `class_counts[c]` rows of class c.

        Raises:
            UsageError: the budget asks for more rows, overall or of one class, than there are.
        """
        if self.unit != "class":
            return self.rows_of(sum(class_counts))
        smallest = min(class_counts)
        if self.amount > smallest:
            label = list(class_counts).index(smallest)
            raise UsageError(
                f"budget {self} is more than the {smallest} train rows of class {label}"
            )
        return int(self.amount) * len(class_counts)

    def rows_of(self, available: int) -> int:
        """Rows allowed for a train split of `available` rows, whatever their class.

        Raises:
            UsageError: it asks for more rows than there are, or for rows of each class.
        """
        if self.unit == "class":
            raise UsageError(
                f"budget {self} counts rows of each class, and there are no classes",
                hint="write 200rows or 1%",
            )
        if self.unit == "percent":
            return 0 if self.is_nothing else max(1, int(available * self.amount / 100 + 1e-9))
        if self.amount > available:
            raise UsageError(f"budget {self} is more than the {available} rows of train")
        return int(self.amount)

    def per_class(self, class_counts: Sequence[int]) -> list[int]:
        """Shares `total` as evenly as the classes allow; the lowest labels take the remainder.

        A class with fewer rows than its even share gives all it has, and the rest is shared
        among the others, so the sum is always `total(class_counts)`.

        Raises:
            UsageError: there are no classes, or `total` refuses.
        """
        if not class_counts:
            raise UsageError(f"budget {self} cannot be shared among classes: there are none")
        left = self.total(class_counts)
        shares = [0] * len(class_counts)
        open_classes = [c for c, count in enumerate(class_counts) if count > 0]
        while open_classes:
            even, extra = divmod(left, len(open_classes))
            short = [c for c in open_classes if class_counts[c] <= even]
            for c in short:
                shares[c] = class_counts[c]
                left -= class_counts[c]
            open_classes = [c for c in open_classes if c not in short]
            if not short:
                for position, c in enumerate(open_classes):
                    shares[c] = even + (position < extra)
                break
        return shares
