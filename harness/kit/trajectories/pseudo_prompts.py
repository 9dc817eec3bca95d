"""Pseudo prompts: rows of a pool, and which of their positions are to be learned.

The pool's rows are chosen at random, as the prompts nearest to k-means centres, or by their
numbers (such as LESS's choice). A row keeps its response, its start token, its template and its
padding; only the prompt's own tokens are learned. `random_tokens` replaces those by allowed
tokens drawn at random. `harness.kit.trajectories.pseudo_rows.PseudoRows` takes rows and marks.

A reconstruction: the abstract of arXiv 2504.09818, all of it that we had, does not say how its
prompts begin.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from harness.errors import UsageError
from harness.kit.language.labelled_rows import IGNORED, LabelledRows
from harness.kit.selection.kmeans import kmeans, nearest_to_centroids
from harness.kit.training.batching import EncodedRows
from harness.kit.trajectories.token_projection import AllowedTokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class PseudoPrompts:
    """m rows with marks.

    learned: for each row a bool array, which of its positions are learned; labels: of a language
    model's rows, None for a classifier's; sources: [m] the pool's rows that they began as.
    """

    rows: EncodedRows
    learned: tuple[np.ndarray, ...]
    labels: tuple[np.ndarray, ...] | None
    sources: np.ndarray

    def __post_init__(self) -> None:
        lengths = self.rows.lengths.tolist()
        if [len(mask) for mask in self.learned] != lengths or len(self.sources) != len(lengths):
            raise UsageError("each row needs a source and one mark a token, learned or not")
        for row, mask in enumerate(self.learned):
            if not mask.any():
                raise UsageError(
                    f"row {self.sources[row]} has no prompt of its own to learn",
                    hint="Raise max_length, or leave rows with an empty prompt out.",
                )
            if self.labels is not None and (self.labels[row][mask] != IGNORED).any():
                raise UsageError(f"row {self.sources[row]} would learn a token of its response")

    def __len__(self) -> int:
        return len(self.learned)

    @cached_property
    def encoded(self) -> LabelledRows:
        """The rows with their labels.

        Raises:
            UsageError: they are a classifier's.
        """
        if self.labels is None:
            raise UsageError("rows of a classifier have no tokens as labels")
        return LabelledRows(self.rows, self.labels)

    @property
    def learned_ids(self) -> np.ndarray:
        """[k] the ids in the learned positions, row after row."""
        pairs = zip(self.rows.ids, self.learned, strict=True)
        return np.concatenate([ids[mask] for ids, mask in pairs]).astype(np.int64)

    def split(self, values: np.ndarray) -> list[np.ndarray]:
        """Values [k, ...] of the learned positions, one array a row."""
        counts = [int(mask.sum()) for mask in self.learned]
        if len(values) != sum(counts):
            raise UsageError(f"{len(values)} values for {sum(counts)} learned positions")
        return np.split(values, np.cumsum(counts)[:-1])

    def with_learned_ids(self, ids: np.ndarray) -> PseudoPrompts:
        """The same rows with other ids [k] in the learned positions."""
        rows = []
        for before, mask, new in zip(self.rows.ids, self.learned, self.split(ids), strict=True):
            row = before.copy()
            row[mask] = new
            rows.append(row)
        return replace(self, rows=EncodedRows(tuple(rows), self.rows.type_ids, self.rows.side))

    def within(self, tokens: int) -> PseudoPrompts:
        """As many of the first rows as have no more than `tokens` tokens together.

        Raises:
            UsageError: the first row alone has more.
        """
        count = int((np.cumsum(self.rows.lengths) <= tokens).sum())
        if count == 0:
            raise UsageError(
                f"a budget of {tokens} tokens is less than the {self.rows.lengths[0]} that the"
                " first prompt needs with its response",
                hint="Raise the budget, or shorten rows (max_length).",
            )
        labels = None if self.labels is None else self.labels[:count]
        rows = self.rows.take(np.arange(count))
        return PseudoPrompts(rows, self.learned[:count], labels, self.sources[:count])

    def prompt_texts(self, tokenizer: PreTrainedTokenizerFast) -> list[str]:
        """The prompts as text, templates included and special tokens left out.

        A blank or line break at a prompt's end belongs to the response's tokens (see
        `harness.kit.language.encoding`), so it is not here.
        """
        return _decoded(tokenizer, [ids[mask] for ids, mask in self._prompts()])

    def _prompts(self) -> list[tuple[np.ndarray, np.ndarray]]:
        labels = self.labels or tuple(np.full(len(ids), IGNORED) for ids in self.rows.ids)
        return [(ids, row == IGNORED) for ids, row in zip(self.rows.ids, labels, strict=True)]


def prompts_of(
    pool: LabelledRows | EncodedRows,
    sources: Sequence[int] | np.ndarray,
    fixed: Collection[int],
    *,
    template: bool = False,
) -> PseudoPrompts:
    """Rows of a pool, the tokens of their prompts marked.

    Args:
        fixed: ids that are never learned, such as the tokenizer's special ones.
        template: what all prompts of the pool begin and end with is not learned either.

    Raises:
        UsageError: a row that does not exist, or one without a token to learn.
    """
    chosen = np.asarray(sources, dtype=np.int64)
    rows, labels = (pool.rows, pool.labels) if isinstance(pool, LabelledRows) else (pool, None)
    if not len(chosen) or chosen.min() < 0 or chosen.max() >= len(rows):
        raise UsageError(f"pseudo prompts begin as rows 0 to {len(rows) - 1} of the pool")
    marks = _prompt_marks(rows, labels, fixed)
    if template:
        marks = _without_template(rows, marks)
    kept = None if labels is None else tuple(labels[row] for row in chosen)
    return PseudoPrompts(rows.take(chosen), tuple(marks[row] for row in chosen), kept, chosen)


def usable_rows(pool: LabelledRows | EncodedRows, fixed: Collection[int]) -> np.ndarray:
    """Numbers of the rows that have a token to learn, ascending.

    Args:
        fixed: see `prompts_of`.
    """
    rows, labels = (pool.rows, pool.labels) if isinstance(pool, LabelledRows) else (pool, None)
    marks = _prompt_marks(rows, labels, fixed)
    return np.flatnonzero([bool(mask.any()) for mask in marks])


def random_sources(rows: int, count: int, generator: np.random.Generator) -> np.ndarray:
    """[count] different rows, in the order drawn.

    Raises:
        UsageError: there are not so many.
    """
    if not 1 <= count <= rows:
        raise UsageError(f"{count} of {rows} prompts cannot be chosen")
    return generator.permutation(rows)[:count]


def kmeans_sources(
    pool: LabelledRows | EncodedRows,
    fixed: Collection[int],
    table: Tensor,
    count: int,
    generator: torch.Generator,
) -> np.ndarray:
    """[count] different rows, the nearest to k-means centres of the prompts' mean embeddings.

    Rows without a token to learn are not chosen.

    Args:
        fixed: see `prompts_of`; table: [vocabulary, d] embeddings.

    Raises:
        UsageError: there are not so many rows.
    """
    usable = usable_rows(pool, fixed)
    if not 1 <= count <= len(usable):
        raise UsageError(f"{count} of {len(usable)} prompts cannot be chosen")
    prompts = prompts_of(pool, usable, fixed)
    means = [
        table[torch.from_numpy(ids[mask]).to(table.device, torch.int64)].mean(0)
        for ids, mask in zip(prompts.rows.ids, prompts.learned, strict=True)
    ]
    points = torch.stack(means).detach().float()
    centroids = kmeans(points, count, generator).centroids
    return usable[nearest_to_centroids(points, centroids).cpu().numpy()]


def random_tokens(
    prompts: PseudoPrompts, allowed: AllowedTokens, generator: np.random.Generator
) -> PseudoPrompts:
    """The same rows with allowed tokens, drawn uniformly, in the learned positions."""
    drawn = generator.integers(len(allowed.ids), size=len(prompts.learned_ids))
    return prompts.with_learned_ids(allowed.ids.cpu().numpy()[drawn])


def _prompt_marks(
    rows: EncodedRows, labels: Sequence[np.ndarray] | None, fixed: Collection[int]
) -> list[np.ndarray]:
    """For each row, which tokens are neither fixed nor part of a response.

    A token after the first labelled one is part of the response, whether it is labelled or not.
    """
    never = np.array(sorted(fixed), dtype=np.int64)
    marks = [~np.isin(ids, never) for ids in rows.ids]
    for mask, row in zip(marks, labels or (), strict=labels is not None):
        wanted = np.flatnonzero(row != IGNORED)
        if len(wanted):
            mask[wanted[0] :] = False
    return marks


def _without_template(rows: EncodedRows, marks: list[np.ndarray]) -> list[np.ndarray]:
    """The marks without the longest beginning and end that all marked tokens share.

    Both together leave the shortest prompt one token.
    """
    prompts = [ids[mask].tolist() for ids, mask in zip(rows.ids, marks, strict=True) if mask.any()]
    room = min((len(prompt) for prompt in prompts), default=1) - 1
    head = _shared(prompts, room)
    tail = _shared([prompt[::-1] for prompt in prompts], room - head)
    found = []
    for mask in marks:
        places = np.flatnonzero(mask)
        own = np.zeros_like(mask)
        own[places[head : len(places) - tail]] = True
        found.append(own)
    return found


def _shared(prompts: Sequence[Sequence[int]], most: int) -> int:
    """How many of the first tokens, at most `most`, are equal in all prompts."""
    for place in range(most):
        if len({prompt[place] for prompt in prompts}) > 1:
            return place
    return max(0, most)


def _decoded(tokenizer: PreTrainedTokenizerFast, rows: Sequence[np.ndarray]) -> list[str]:
    ids = [row.tolist() for row in rows]
    return list(
        tokenizer.batch_decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    )
