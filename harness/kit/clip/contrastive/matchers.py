"""Assignment of an image's patches to its caption's words: Hungarian, k-to-1, best or Sinkhorn."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from harness.errors import UsageError
from harness.kit.clip.contrastive.kinds import MatcherName

Matcher = Callable[[Tensor, Tensor], Tensor]
"""(similarity [n, p, w], words [n, w] bool) -> plan [n, p, w], non-negative, 0 at absent words."""


def new_matcher(
    name: MatcherName, *, patches_a_word: int = 2, entropy: float = 0.05, iterations: int = 20
) -> Matcher:
    """A matcher by name; the options are those of `k_to_one` and `sinkhorn`.

    Raises:
        UsageError: an option is out of range.
    """
    if patches_a_word < 1 or iterations < 1 or not entropy > 0:
        raise UsageError(
            f"matching with {patches_a_word} patches a word, entropy {entropy:g} and {iterations}"
            " iterations: each should be positive"
        )
    return {
        "hungarian": hungarian,
        "k-to-1": partial(k_to_one, patches_a_word=patches_a_word),
        "max": best_patch,
        "sinkhorn": partial(sinkhorn, entropy=entropy, iterations=iterations),
    }[name]


def hungarian(similarity: Tensor, words: Tensor) -> Tensor:
    """Each word one patch and each patch at most one word, of the largest total similarity.

    With more words than patches each patch has a word and some words have none. Ones and zeros.
    """
    return k_to_one(similarity, words, patches_a_word=1)


@torch.no_grad()
def k_to_one(similarity: Tensor, words: Tensor, *, patches_a_word: int) -> Tensor:
    """Each word `patches_a_word` patches, each patch at most one word; of the largest total.

    Where patches do not suffice, each has a word and some words have fewer. Ones and zeros.
    """
    from scipy.optimize import linear_sum_assignment

    values = similarity.detach().double().cpu().numpy()
    plan = np.zeros(values.shape, dtype=np.float32)
    for own, present, chosen in zip(values, words.cpu().numpy(), plan, strict=True):
        columns = np.repeat(np.flatnonzero(present), patches_a_word)
        patches, places = linear_sum_assignment(own[:, columns], maximize=True)
        chosen[patches, columns[places]] = 1.0
    return torch.from_numpy(plan).to(similarity)


@torch.no_grad()
def best_patch(similarity: Tensor, words: Tensor) -> Tensor:
    """Each word its best patch, the first of equals, whatever the other words take.

    As in FILIP (Yao et al. 2021, arXiv 2111.07783), section 3.1. Ones and zeros.
    """
    best = similarity.argmax(1, keepdim=True)
    plan = torch.zeros_like(similarity).scatter_(1, best, 1.0)
    return plan * words.unsqueeze(1)


@torch.no_grad()
def sinkhorn(similarity: Tensor, words: Tensor, *, entropy: float, iterations: int) -> Tensor:
    """The entropic transport plan between patches and words, each side of uniform weight, mass 1.

    The maximum of <plan, similarity> + entropy * H(plan), by Sinkhorn's iterations (Cuturi 2013,
    arXiv 1306.0895) on logarithms, so that a small `entropy` neither over- nor underflows. The
    last update is that of the words: their marginals are exact, those of patches nearly so.
    """
    kernel = (similarity / entropy).masked_fill(~words.unsqueeze(1), -math.inf)
    counts = words.sum(1).clamp(min=1)
    log_word = -counts.to(similarity.dtype).log().unsqueeze(1)
    log_patch = -math.log(similarity.shape[1])
    columns = torch.zeros_like(similarity[:, 0])
    rows = torch.zeros_like(similarity[:, :, 0])
    for _ in range(iterations):
        rows = log_patch - _finite((kernel + columns.unsqueeze(1)).logsumexp(2))
        columns = log_word - _finite((kernel + rows.unsqueeze(2)).logsumexp(1))
    return (kernel + rows.unsqueeze(2) + columns.unsqueeze(1)).exp()


def _finite(values: Tensor) -> Tensor:
    """Logarithms of empty sums made 0, so that they add nothing and spoil nothing."""
    return values.masked_fill(values == -math.inf, 0.0)
