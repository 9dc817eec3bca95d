"""In-context prediction: class probabilities behind demonstrations."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harness.context import StageContext
from harness.errors import HarnessWarning
from harness.kit.language.causal_lm import CausalLM
from harness.kit.modes import evaluating
from harness.types import StudentInfo
from harness_frozen.calibration import CONTENT_FREE, calibrated
from harness_frozen.demonstrations import Demonstrations
from harness_frozen.prefix import SharedPrefix, split_rows, way_to_read
from harness_frozen.prompts import PromptTokens

if TYPE_CHECKING:
    from datasets import Dataset

Texts = tuple[str, ...]


@dataclass(frozen=True)
class Reading:
    """Queries that are read behind the same demonstrations.

    prefix: [p] tokens of the demonstrations; shown: how many they are; members: [n] which queries;
    rows: their tokens; groups: which of them are read at once.
    """

    prefix: np.ndarray
    shown: int
    members: np.ndarray
    rows: tuple[np.ndarray, ...]
    groups: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class InContextPredictor:
    """What `InContext.fit` returns.

    columns: the task's texts; calibrate: whether `calibrated` is applied, to each order by itself.
    """

    lm: CausalLM
    prompts: PromptTokens
    demonstrations: Demonstrations
    columns: tuple[str, ...]
    calibrate: bool
    info: StudentInfo

    def predict(self, rows: Dataset, context: StageContext | None = None) -> np.ndarray:
        """Class probabilities, [n, classes] float64, in the order of `rows`.

        The mean over the orders of the next token's probabilities, of the first tokens of the
        classes' words alone. A query that does not fit behind all demonstrations goes without the
        last ones of each order; one that does not fit at all loses the last tokens of its longest
        text. A warning counts both.
        """
        texts: list[Texts] = list(zip(*(rows[column][:] for column in self.columns), strict=True))
        readings = self.readings(texts)
        sums = np.zeros((len(texts), len(self.prompts.first_tokens)))
        total = sum(len(reading.groups) for reading in readings)
        parts = self._parts(readings)
        with evaluating(self.lm.model):
            for members, values in (
                parts if context is None else context.track(parts, "predicting", total=total)
            ):
                sums[members] += values
        return sums / len(self.demonstrations.orders)

    def save(self, folder: Path) -> None:
        """Writes the demonstrations and their orders; the model is as it was."""
        self.demonstrations.save(folder)

    def _parts(self, readings: Sequence[Reading]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Queries and their probabilities, group by group."""
        way = way_to_read(self.lm)
        for reading in readings:
            prefix = SharedPrefix(self.lm, reading.prefix, way)
            nothing = self._content_free(prefix, reading.shown) if self.calibrate else None
            for group in reading.groups:
                values = self._probabilities(prefix, [reading.rows[place] for place in group])
                yield (
                    reading.members[group],
                    values if nothing is None else calibrated(values, nothing),
                )

    def _content_free(self, prefix: SharedPrefix, shown: int) -> np.ndarray:
        return self._probabilities(prefix, self._silent[0 if shown else 1])

    def _probabilities(self, prefix: SharedPrefix, rows: Sequence[np.ndarray]) -> np.ndarray:
        logits = prefix.logits(rows)[:, self.prompts.first_tokens]
        return logits.double().softmax(-1).cpu().numpy()

    @cached_property
    def _silent(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Queries that say nothing: behind demonstrations, and alone."""
        texts = [(text,) * len(self.columns) for text in CONTENT_FREE]
        return (
            [np.array(self.prompts.query(row, opens=False)) for row in texts],
            [np.array(self.prompts.alone(row)[0]) for row in texts],
        )

    def readings(self, texts: Sequence[Texts]) -> list[Reading]:
        """What there is to read for some queries, each of them once for every order."""
        start = np.array(self.prompts.start, dtype=np.int64)
        behind = self._behind(texts)
        room = self.prompts.limit - self._lengths(behind)
        fewest = np.full(len(texts), len(self.demonstrations))

        @cache
        def alone(member: int) -> tuple[np.ndarray, bool]:
            tokens, shortened = self.prompts.alone(texts[member])
            return np.array(tokens), shortened

        readings = []
        for order in self.demonstrations.orders:
            blocks = self._blocks(order)
            ends = len(start) + np.cumsum([0, *map(len, blocks)])
            shown = np.maximum(np.searchsorted(ends, room, side="right") - 1, 0)
            fewest = np.minimum(fewest, shown)
            for count in np.unique(shown)[::-1].tolist():
                members = np.flatnonzero(shown == count)
                rows = [behind[m] if count else alone(m)[0] for m in members.tolist()]
                prefix = np.concatenate([start, *blocks[:count]])
                readings.append(self._reading(prefix, count, members, rows))
        cut = sum(alone(member)[1] for member in np.flatnonzero(fewest == 0).tolist())
        self._warn(int(np.sum(fewest < len(self.demonstrations))), cut, len(texts))
        return readings

    def _lengths(self, behind: Sequence[np.ndarray]) -> np.ndarray:
        """Tokens that each query needs behind demonstrations, and so do those that say nothing."""
        lengths = np.array([len(row) for row in behind], dtype=np.int64)
        if not self.calibrate or not len(self.demonstrations):
            return lengths
        return np.maximum(lengths, max(map(len, self._silent[0])))

    def _reading(
        self, prefix: np.ndarray, shown: int, members: np.ndarray, rows: Sequence[np.ndarray]
    ) -> Reading:
        lengths = np.array([len(row) for row in rows])
        groups = split_rows(lengths, len(prefix), way_to_read(self.lm), self.lm.device)
        return Reading(prefix, shown, members, tuple(rows), tuple(groups))

    def _behind(self, texts: Sequence[Texts]) -> list[np.ndarray]:
        """Queries as they stand behind demonstrations; without any there is nothing to measure."""
        if not len(self.demonstrations):
            return [np.zeros(0, dtype=np.int64)] * len(texts)
        return [np.array(self.prompts.query(row, opens=False)) for row in texts]

    def _blocks(self, order: Sequence[int]) -> list[np.ndarray]:
        """The tokens of each demonstration, in an order."""
        shown = self.demonstrations
        return [
            np.array(
                self.prompts.demonstration(shown.texts[row], shown.labels[row], opens=place == 0)
            )
            for place, row in enumerate(order)
        ]

    def _warn(self, fewer: int, cut: int, queries: int) -> None:
        limit = self.prompts.limit
        for count, what in (
            (fewer, f"see fewer than all {len(self.demonstrations)} demonstrations"),
            (cut, "lose the end of a text"),
        ):
            if count:
                warnings.warn(
                    f"{count} of {queries} queries {what}, to keep within {limit} tokens",
                    HarnessWarning,
                    stacklevel=3,
                )
