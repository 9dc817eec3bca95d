"""Initialisation of synthetic data: which rows of the pool, and with which tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness.budget import Budget
from harness.context import StageContext
from harness.errors import UsageError
from harness.kit.language.labelled_rows import LabelledRows
from harness.kit.language.training import take
from harness.kit.trajectories.proxies import Proxy
from harness.kit.trajectories.pseudo_prompts import (
    PseudoPrompts,
    kmeans_sources,
    prompts_of,
    random_sources,
    random_tokens,
    usable_rows,
)
from harness.kit.trajectories.words import Vocabulary
from harness.types import LABEL_COLUMN, TaskData

Initial = Literal["random", "k-means", "tokens"]


@dataclass(frozen=True)
class Initialisation:
    """How initial rows are chosen.

    method: whose draws these are: two methods with one seed draw different rows.
    initial: rows at random or by k-means, or random ones with random tokens for prompts.
    keep_template: what all prompts of the pool begin and end with is not learned.
    tokens: most tokens of all rows together; 0 for no limit.
    """

    method: str
    initial: Initial = "random"
    keep_template: bool = False
    tokens: int = 0


def initial_rows(
    proxy: Proxy,
    vocabulary: Vocabulary,
    how: Initialisation,
    budget: Budget,
    context: StageContext,
) -> PseudoPrompts:
    """As many rows as the budgets in rows and in tokens allow, drawn for each seed.

    Raises:
        UsageError: fewer rows with a token to learn than the budget asks for, or fewer tokens than
            the first row needs.
    """
    method, fixed = how.method, proxy.tokenizer.all_special_ids
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
        if how.initial == "k-means":
            pool = proxy.pool
            own = take(pool, members) if isinstance(pool, LabelledRows) else pool.take(members)
            draw = context.torch_generator(f"{method} k-means", name)
            chosen = kmeans_sources(own, fixed, vocabulary.table, share, draw)
        else:
            generator = context.numpy_generator(f"{method} rows", name)
            chosen = random_sources(len(members), share, generator)
        sources.append(members[chosen])
    chosen_rows = np.concatenate(sources)
    prompts = prompts_of(proxy.pool, chosen_rows, fixed, template=how.keep_template)
    if how.tokens:
        prompts = prompts.within(how.tokens)
    if how.initial == "tokens":
        generator = context.numpy_generator(f"{method} tokens")
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
