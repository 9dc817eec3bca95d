"""What an untrained language model sees in an instruction task's rows, computed once and shared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.context import Arrays, StageContext
from harness.errors import UsageError
from harness.fingerprint import rows_digest
from harness.kit.causal_student import build_proxy_lm, proxy_lm_inputs
from harness.randomness import derive_seed
from harness.types import Split, TaskData

if TYPE_CHECKING:
    from datasets import Dataset

    from harness.kit.causal_lm import CausalLM
    from harness.kit.hidden_states import PooledStates
    from harness.kit.instruction_encoding import Pairs

MAX_LENGTH = 2048
"""Tokens of a row that methods look at unless told otherwise, as many as RDS+'s authors."""

_SEED = derive_seed("causal proxy")
_VERSION = 1
_COLUMNS = ["prompt", "completion"]


def require_instructions(task: TaskData, method: str) -> None:
    """Raises UsageError when a task is of another modality; names both."""
    if task.modality != "instruction":
        raise UsageError(
            f"{method} is for instruction tasks, and '{task.name}' is of {task.modality}"
        )


def row_states(
    task: TaskData,
    split: Split,
    spec: str,
    context: StageContext,
    *,
    max_length: int = MAX_LENGTH,
    rows: np.ndarray | None = None,
) -> PooledStates:
    """The proxy's pooled hidden states of a split's prompts with their completions.

    No end token is read: what a language model makes of it tells little of what stands before.
    The states depend on task, proxy and `max_length`, never on the stage's seed: what is random
    in a proxy comes from a seed of its own. So all methods, seeds and budgets share them.

    Args:
        max_length: tokens of a row, as in `CausalLM.encode`; 0 for as many as the model allows.
        rows: positions in the split, all of it by default.

    Raises:
        UsageError: no usable proxy, or a completion without a token or too long for it.
    """
    from harness.kit.hidden_states import PooledStates, pool_states

    chosen = task.split(split)
    if rows is not None:
        chosen = chosen.select(rows)

    def compute(lm: CausalLM, pairs: Pairs) -> Arrays:
        encoded = lm.encoder(max_length).encode(pairs, end=False, context=context)
        return vars(pool_states(lm, encoded.rows, context))

    inputs = {"name": "states", "max_length": max_length}
    return PooledStates(**_shared(inputs, task, chosen, spec, context, compute))


def row_losses(task: TaskData, split: Split, spec: str, context: StageContext) -> np.ndarray:
    """[n] mean cross-entropy of each completion's tokens given its prompt, in nats, float64.

    Its exponential is the completion's perplexity under the proxy. No end token is predicted.
    Shared as `row_states` are, whose errors see.
    """

    def compute(lm: CausalLM, pairs: Pairs) -> Arrays:
        found = lm.loglikelihood(pairs, context)
        return {"losses": -found.sums / found.tokens}

    inputs = {"name": "losses"}
    return _shared(inputs, task, task.split(split), spec, context, compute)["losses"]


def _shared(
    inputs: Mapping[str, Any],
    task: TaskData,
    rows: Dataset,
    spec: str,
    context: StageContext,
    compute: Callable[[CausalLM, Pairs], Arrays],
) -> Arrays:
    """What `compute` finds in rows by a fresh proxy; `inputs` is what else it depends on."""
    texts = rows.select_columns(_COLUMNS)
    everything = {
        **inputs,
        **proxy_lm_inputs(spec, context),
        "version": _VERSION,
        "rows": rows_digest(texts),
        "train": rows_digest(task.train),
    }

    def look() -> Arrays:
        lm = build_proxy_lm(spec, task, replace(context, seed=_SEED))
        return compute(lm, list(zip(texts["prompt"][:], texts["completion"][:], strict=True)))

    return context.cache.arrays("causal-proxy", everything, look)
