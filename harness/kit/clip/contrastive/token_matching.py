"""The matching loss between an image's patches and its caption's words.

LightCLIP (Nie et al. 2023, arXiv 2312.00674) names a relaxed bipartite matching of patches and
words; its equations are not known to us, and what stands here is a reconstruction.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from harness.kit.clip.contrastive.matchers import Matcher


def matched_pairs_loss(patches: Tensor, texts: Tensor, words: Tensor, matcher: Matcher) -> Tensor:
    """The mean over pairs of 1 - the similarity of matched patches and words, a scalar in [0, 2].

    Only an image's own caption is matched, b assignments; pairs without a word do not count.

    Args:
        patches: [b, p, d]; texts: [b, w, d]; both are made unit vectors here.
        words: [b, w] bool, which tokens are words: no pad, start, end or mask.
        matcher: gives the plan; gradients flow through the matched similarities alone.
    """
    similarity = _unit(patches) @ _unit(texts).transpose(1, 2)
    scores = plan_scores(similarity, matcher(similarity.detach(), words))
    counted = words.any(1)
    return ((1.0 - scores) * counted).sum() / counted.sum().clamp(min=1)


def matched_contrast_loss(
    patches: Tensor,
    texts: Tensor,
    words: Tensor,
    matcher: Matcher,
    scale: Tensor,
    negatives: int,
) -> Tensor:
    """CLIP's loss of matched similarities, each pair among a few other combinations, a scalar.

    Image i is told from captions i + 1, ..., i + `negatives`, counted around the batch, and text
    j from images j - 1, ..., j - `negatives`: the same combinations, so b * (negatives + 1)
    assignments serve both directions. With b - 1 negatives it is the whole contrastive loss.
    Pairs without a word are left out. Arguments as above, and `scale` of the similarities.
    """
    counted = words.any(1)
    images, captions, present = _unit(patches[counted]), _unit(texts[counted]), words[counted]
    rows = len(images)
    if rows == 0:
        return (patches.sum() + texts.sum()) * 0.0
    shifts = torch.arange(min(negatives, rows - 1) + 1, device=words.device)
    places = torch.arange(rows, device=words.device)
    partners = (places[:, None] + shifts) % rows
    similarity = torch.einsum("ipd,iswd->ispw", images, captions[partners]).flatten(0, 1)
    plan = matcher(similarity.detach(), present[partners].flatten(0, 1))
    logits = scale * plan_scores(similarity, plan).view(rows, len(shifts))
    by_text = logits[(places[:, None] - shifts) % rows, shifts]
    first = torch.zeros_like(places)
    to_text = functional.cross_entropy(logits, first)
    return 0.5 * (to_text + functional.cross_entropy(by_text, first))


def plan_scores(similarity: Tensor, plan: Tensor) -> Tensor:
    """[n]: the mean similarity [n, p, w] under a plan of the same shape; 0 where that is empty."""
    mass = plan.sum((1, 2))
    return (plan * similarity).sum((1, 2)) / torch.where(mass > 0, mass, 1.0)


def _unit(rows: Tensor) -> Tensor:
    return functional.normalize(rows, dim=-1)
