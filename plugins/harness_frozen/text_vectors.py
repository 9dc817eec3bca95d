"""Frozen text vectors of an untrained student, computed once for all stages."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from harness.context import StageContext
from harness.data.texts import joined_texts
from harness.errors import UsageError
from harness.fingerprint import rows_digest
from harness.kit.language.student import proxy_lm_inputs
from harness.kit.text.classifier import TextClassifier
from harness.protocols import BuildsModel
from harness.randomness import derive_seed
from harness.types import TaskData

if TYPE_CHECKING:
    from datasets import Dataset

TextPooling = Literal["mean", "last", "weighted"]

_SEED = derive_seed("text vectors")


@dataclass
class TextReader:
    """A student's model before any training, as it reads one task's texts.

    spec: of a student that builds a causal language model or a text classifier. What is random in
    a model without a checkpoint comes from a seed of its own, so that all cells look through the
    same eyes.
    pooling: of a language model's hidden states, see `PooledStates`; a classifier's are averaged.
    max_length: tokens kept of a row.
    """

    spec: str
    task: TaskData
    pooling: TextPooling
    max_length: int
    context: StageContext

    @cached_property
    def model(self) -> Any:
        """The model, built at first use.

        Raises:
            UsageError: the student builds none.
        """
        student = self.context.student(self.spec)
        if not isinstance(student, BuildsModel):
            raise UsageError(
                f"student '{self.spec}' builds no model to look through",
                hint="Name a causal language model or a text classifier: probe:smollm2:135m.",
            )
        return student.build(self.task, replace(self.context, seed=_SEED))

    @cached_property
    def parameters(self) -> int:
        """How many numbers the model has."""
        arrays = self.context.cache.arrays("text-reader", self._inputs, self._count)
        return int(arrays["parameters"])

    def read(self, rows: Dataset, context: StageContext | None = None) -> np.ndarray:
        """[n, d] float32, in the order of `rows`; kept in the context's cache where there is one.

        The texts of a row with several are joined by line breaks.
        """
        columns = list(self.task.input_columns)
        chosen = rows.select_columns(columns)
        if context is None:
            return self._vectors(chosen, None)
        inputs = {
            **self._inputs,
            "rows": rows_digest(chosen),
            "columns": columns,
            "pooling": self.pooling,
            "max_length": self.max_length,
            "device": context.device,
        }

        def compute() -> dict[str, np.ndarray]:
            return {"vectors": self._vectors(chosen, context)}

        return context.cache.arrays("text-vectors", inputs, compute)["vectors"]

    def _vectors(self, rows: Dataset, context: StageContext | None) -> np.ndarray:
        if isinstance(self.model, TextClassifier):
            self.model.max_length = self.max_length
            return self.model.embed(rows, "mean", context)
        from harness.kit.language.hidden_states import pool_states

        texts = joined_texts(rows, self.task.input_columns)
        encoded = self.model.encoder(self.max_length).texts(texts)
        return getattr(pool_states(self.model, encoded, context), self.pooling)

    @cached_property
    def _inputs(self) -> dict[str, Any]:
        return {
            **proxy_lm_inputs(self.spec, self.context),
            "train": rows_digest(self.task.train),
        }

    def _count(self) -> dict[str, np.ndarray]:
        return {"parameters": np.asarray(self.model.info.parameters)}
