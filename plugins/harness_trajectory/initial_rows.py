"""Where learning begins: which rows of the pool, and with which tokens."""

from __future__ import annotations

import numpy as np

from harness.budget import Budget
from harness.context import StageContext
from harness.errors import UsageError
from harness.kit.causal_lm_training import take
from harness.kit.labelled_rows import LabelledRows
from harness.kit.pseudo_prompts import (
    PseudoPrompts,
    kmeans_sources,
    prompts_of,
    random_sources,
    random_tokens,
    usable_rows,
)
from harness.types import LABEL_COLUMN, TaskData
from harness_trajectory.learning import Vocabulary
from harness_trajectory.options import TrajectoryOptions
from harness_trajectory.proxies import Proxy


def initial_rows(
    proxy: Proxy,
    vocabulary: Vocabulary,
    options: TrajectoryOptions,
    budget: Budget,
    context: StageContext,
) -> PseudoPrompts:
    """As many rows as the budgets in rows and in tokens allow, drawn for each seed.

    Raises:
        UsageError: fewer rows with a token to learn than the budget asks for, or fewer tokens than
            the first row needs.
    """
    fixed = proxy.tokenizer.all_special_ids
    usable = usable_rows(proxy.pool, fixed)
    sources = []
    for name, (members, share) in groups(proxy.task, usable, budget).items():
        if share > len(members):
            raise UsageError(
                f"the budget asks for {share} rows of {name}, and {len(members)} have a token to"
                " learn"
            )
        if not share:
            continue
        if options.initial == "k-means":
            pool = proxy.pool
            own = take(pool, members) if isinstance(pool, LabelledRows) else pool.take(members)
            draw = context.torch_generator("trajectory k-means", name)
            chosen = kmeans_sources(own, fixed, vocabulary.table, share, draw)
        else:
            generator = context.numpy_generator("trajectory rows", name)
            chosen = random_sources(len(members), share, generator)
        sources.append(members[chosen])
    prompts = prompts_of(proxy.pool, np.concatenate(sources), fixed, template=options.keep_template)
    if options.tokens:
        prompts = prompts.within(options.tokens)
    if options.initial == "tokens":
        generator = context.numpy_generator("trajectory tokens")
        prompts = random_tokens(prompts, vocabulary.allowed, generator)
    return prompts


def groups(task: TaskData, usable: np.ndarray, budget: Budget) -> dict[str, tuple[np.ndarray, int]]:
    """The usable rows, and how many are wanted, of each class where there are any."""
    if not task.label_names:
        return {"train": (usable, task.budget_rows(budget))}
    labels = np.asarray(task.train[LABEL_COLUMN][:])[usable]
    shares = budget.per_class(task.class_counts())
    return {
        f"class {label}": (usable[labels == label], share) for label, share in enumerate(shares)
    }
