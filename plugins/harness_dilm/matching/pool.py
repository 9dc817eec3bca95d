"""The synthetic samples in use, and a trace of matching over the generator's updates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from harness.kit.files.named_arrays import of_ragged, prefixed, ragged, without_prefix
from harness.kit.training.batching import EncodedRows
from harness_dilm.matching.clusters import DiverseBatches
from harness_dilm.matching.learner import RowTable

Picks = tuple[np.ndarray, ...]
"""Positions of one batch's rows, by class."""


@dataclass(frozen=True)
class SamplePool:
    """The samples in use since generator update `born`.

    sequences: as they were sampled; table: as the learner reads them; batches: by class.
    """

    sequences: EncodedRows
    table: RowTable
    batches: tuple[DiverseBatches, ...]
    born: int

    def picks(self, step: int) -> Picks:
        """The samples of each class at a generator update."""
        return tuple(batches.batch(step - self.born) for batches in self.batches)

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything under names, for a file."""
        clusters = {
            name: array
            for label, batches in enumerate(self.batches)
            for name, array in prefixed(f"clusters/{label}", ragged(batches.clusters)).items()
        }
        return {
            "born": np.array([self.born]),
            **prefixed("sequences", _row_arrays(self.sequences)),
            **prefixed("rows", _row_arrays(self.table.rows)),
            **prefixed("known", self.table.arrays()),
            **clusters,
        }

    @classmethod
    def of_arrays(
        cls, arrays: Mapping[str, np.ndarray], classes: int, device: torch.device
    ) -> SamplePool:
        """What `arrays` gave."""
        table = RowTable(_rows_of(without_prefix("rows", arrays)))
        table.restore(without_prefix("known", arrays), device)
        return cls(
            sequences=_rows_of(without_prefix("sequences", arrays)),
            table=table,
            batches=tuple(
                DiverseBatches(of_ragged(without_prefix(f"clusters/{label}", arrays)))
                for label in range(classes)
            ),
            born=int(arrays["born"][0]),
        )


@dataclass
class Trace:
    """What happened at each generator update.

    similarity: mean over classes; gradient_norm: of the generator, before clipping; age:
    updates since the samples were generated; degenerate: classes with a zero gradient;
    used_share: of the samples of each regeneration, those that entered a batch.
    """

    similarity: list[float] = field(default_factory=list)
    gradient_norm: list[float] = field(default_factory=list)
    age: list[float] = field(default_factory=list)
    degenerate: list[float] = field(default_factory=list)
    used_share: list[float] = field(default_factory=list)

    def arrays(self) -> dict[str, np.ndarray]:
        """One array [updates] or [regenerations] each."""
        return {name: np.asarray(values, np.float64) for name, values in vars(self).items()}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Trace:
        """What `arrays` gave."""
        return cls(**{name: values.tolist() for name, values in arrays.items()})


def _row_arrays(rows: EncodedRows) -> dict[str, np.ndarray]:
    types = {} if rows.type_ids is None else prefixed("types", ragged(rows.type_ids))
    left = np.array([rows.side == "left"])
    return {"left": left, **prefixed("ids", ragged(rows.ids)), **types}


def _rows_of(arrays: Mapping[str, np.ndarray]) -> EncodedRows:
    types = without_prefix("types", arrays)
    return EncodedRows(
        ids=of_ragged(without_prefix("ids", arrays)),
        type_ids=of_ragged(types) if types else None,
        side="left" if arrays["left"][0] else "right",
    )
