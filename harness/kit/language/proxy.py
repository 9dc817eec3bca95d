"""An untrained language model as proxy: a task's embeddings and likelihoods, computed once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.context import Arrays, StageContext
from harness.data.pool import positions_in_whole
from harness.data.texts import pairs_of
from harness.errors import UsageError
from harness.fingerprint import rows_digest
from harness.kit.language.student import build_proxy_lm, proxy_lm_inputs
from harness.randomness import derive_seed
from harness.types import INSTRUCTION_COLUMNS, Split, TaskData

if TYPE_CHECKING:
    from datasets import Dataset

    from harness.kit.language.causal_lm import CausalLM
    from harness.kit.language.encoding import Pairs
    from harness.kit.language.hidden_states import PooledStates

MAX_LENGTH = 2048
"""Tokens of a row that methods look at unless told otherwise, as many as RDS+'s authors."""

_SEED = derive_seed("causal proxy")
_VERSION = 1


def require_instructions(task: TaskData, method: str) -> None:
    """Raises UsageError when a task is of another modality; names both."""
    if task.modality != "instruction":
        raise UsageError(
            f"{method} is for instruction tasks, and '{task.name}' is of {task.modality}"
        )


@dataclass
class CausalProxy:
    """An untrained language model as it looks at one task's prompts with their completions.

    What it sees depends on task and proxy, never on the stage's seed: what is random in a proxy
    comes from a seed of its own. So all methods, seeds and budgets of a store share it, and the
    model is built once, when something is not there yet.

    spec: of a student that builds a causal language model.
    """

    spec: str
    task: TaskData
    context: StageContext

    @cached_property
    def lm(self) -> CausalLM:
        """The model.

        Raises:
            UsageError: no proxy is named, or it is no causal language model.
        """
        return build_proxy_lm(self.spec, self.task, replace(self.context, seed=_SEED))

    def states(
        self, split: Split, *, max_length: int = MAX_LENGTH, rows: np.ndarray | None = None
    ) -> PooledStates:
        """The pooled hidden states of a split's rows.

        No end token is read: what a language model makes of it tells little of what is before it.

        Args:
            max_length: tokens of a row, as in `CausalLM.encode`; 0 for as many as the model allows.
            rows: positions in the split, all of it by default.

        Raises:
            UsageError: no usable proxy, or a completion without a token or too long for it.
        """
        from harness.kit.language.hidden_states import PooledStates, pool_states

        shared = positions_in_whole(self.task, split, rows)
        if shared is not None:
            found = self._of_whole().states(split, max_length=max_length)
            return PooledStates(*(values[shared] for values in vars(found).values()))

        def look(pairs: Pairs) -> Arrays:
            encoder = self.lm.encoder(max_length)
            encoded = encoder.encode(pairs, end=False, context=self.context)
            return vars(pool_states(self.lm, encoded.rows, self.context))

        return PooledStates(
            **self._shared("states", self._chosen(split, rows), {"max_length": max_length}, look)
        )

    def losses(self, split: Split, *, rows: np.ndarray | None = None) -> np.ndarray:
        """[n] mean cross-entropy of each completion's tokens given its prompt, in nats, float64.

        Its exponential is the completion's perplexity. No end token is predicted.

        Args:
            rows: positions in the split, all of it by default.

        Raises:
            UsageError: no usable proxy, or a completion without a token or too long for it.
        """

        shared = positions_in_whole(self.task, split, rows)
        if shared is not None:
            return self._of_whole().losses(split)[shared]

        def look(pairs: Pairs) -> Arrays:
            found = self.lm.loglikelihood(pairs, self.context)
            return {"losses": -found.sums / found.tokens}

        return self._shared("losses", self._chosen(split, rows), {}, look)["losses"]

    def _of_whole(self) -> CausalProxy:
        """The same model looking at the whole train split, as all pools share it."""
        return CausalProxy(self.spec, self.task.whole(), self.context)

    def _chosen(self, split: Split, rows: np.ndarray | None) -> Dataset:
        chosen = self.task.split(split)
        return chosen if rows is None else chosen.select(rows)

    def _shared(
        self, name: str, rows: Dataset, options: Mapping[str, Any], look: Callable[[Pairs], Arrays]
    ) -> Arrays:
        texts = rows.select_columns([*INSTRUCTION_COLUMNS])
        inputs = {
            "version": _VERSION,
            "rows": rows_digest(texts),
            "train": rows_digest(self.task.train),
            **proxy_lm_inputs(self.spec, self.context),
            **options,
        }

        def compute() -> Arrays:
            return look(pairs_of(texts))

        return self.context.cache.arrays(f"causal-{name}", inputs, compute)
