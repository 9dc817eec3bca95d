"""Learning curves of a stage, thinned to what a page can show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

POINTS = 40
"""Points kept of a curve."""
_DIGITS = 5


@dataclass(frozen=True)
class Curve:
    """Means over consecutive, nearly equal spans of steps.

    steps: [points] the last step of each span, counted from 1; values: [points] their means.
    """

    steps: tuple[int, ...]
    values: tuple[float, ...]

    @classmethod
    def thin(cls, values: Sequence[float] | np.ndarray, points: int = POINTS) -> Curve:
        """The curve of one value a step; values that are not finite are left out of the means.

        Raises:
            ValueError: there are no values.
        """
        import numpy as np

        array = np.asarray(values, dtype=np.float64)
        if array.ndim != 1 or array.size == 0:
            raise ValueError(f"a curve needs a list of values, got shape {array.shape}")
        ends = np.linspace(0, len(array), min(points, len(array)) + 1).round().astype(int)
        spans = [
            (int(end), span[np.isfinite(span)])
            for end, span in zip(ends[1:], np.split(array, ends[1:-1]), strict=True)
        ]
        kept = [(end, float(f"{span.mean():.{_DIGITS}g}")) for end, span in spans if len(span)]
        return cls(tuple(end for end, _ in kept), tuple(mean for _, mean in kept))


def named(prefix: str, curves: Mapping[str, Curve]) -> dict[str, Curve]:
    """The curves of one stage under names that no other stage has."""
    return {f"{prefix}: {name}": curve for name, curve in curves.items()}
