"""Nucleus sampling from class-token prompts: cached keys, finished rows dropped on the way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from harness.kit.language.cache_argument import with_cache
from harness_dilm.generator.model import Generator

COMPACT_AT = 0.9
"""The batch is compacted once fewer than this share of its rows is unfinished."""


@dataclass(frozen=True)
class Samples:
    """What was sampled.

    ids: one array a row: its class's prompt, the sampled tokens, and the end token if it came.
    complete: [n] whether the end token came before the limit.
    """

    ids: tuple[np.ndarray, ...]
    complete: np.ndarray


def sample(
    generator: Generator,
    labels: np.ndarray,
    *,
    top_p: float,
    max_new_tokens: int,
    rng: torch.Generator,
) -> Samples:
    """One sequence for each label, temperature 1, no top-k, no repetition penalty.

    Structural tokens are never sampled, but for the end token, and for `<sep>` while a row has
    fewer of them than its fields need. All draws come from `rng`, on the CPU, so that they
    agree on every device.
    """
    form = generator.format
    steps = min(max_new_tokens, generator.max_length - form.given)
    by_class = [form.prompt(label) for label in range(len(form.class_ids))]
    prompts = torch.tensor(by_class)[torch.from_numpy(labels)]
    drawn = torch.full((len(labels), steps), form.pad)
    with torch.inference_mode(), generator.mode(dropout=False):
        _fill(generator, prompts, drawn, top_p, rng)
    return _collect(generator, prompts.numpy(), drawn.numpy())


def nucleus_sample(logits: Tensor, top_p: float, uniforms: Tensor) -> Tensor:
    """One token a row from the smallest set of likeliest tokens with mass `top_p` or more.

    A first draw from the whole distribution is kept if it lies in the nucleus, that is if the
    tokens likelier than it have mass below `top_p`; the others, one in twenty at 0.95, are
    drawn again from their sorted nucleus. Both give the nucleus distribution exactly (Holtzman
    et al. 2020, section 3.1), and most rows are never sorted.

    Args:
        logits: [n, vocabulary].
        uniforms: [n, 2] in [0, 1).
    """
    probabilities = logits.float().softmax(-1)
    tokens = _invert(probabilities, uniforms[:, 0])
    if top_p >= 1:
        return tokens
    own = probabilities.gather(1, tokens[:, None])
    likelier = torch.where(probabilities > own, probabilities, 0.0).sum(-1)
    outside = torch.nonzero(likelier >= top_p)[:, 0]
    if len(outside):
        ordered, order = probabilities[outside].sort(dim=-1, descending=True)
        nucleus = torch.where(ordered.cumsum(-1) - ordered < top_p, ordered, 0.0)
        places = _invert(nucleus, uniforms[outside, 1])
        tokens[outside] = order.gather(1, places[:, None])[:, 0]
    return tokens


def _invert(weights: Tensor, uniforms: Tensor) -> Tensor:
    """The index at which each row's cumulated weight passes its share; never one of weight 0."""
    mass = weights.cumsum(-1)
    total = mass[:, -1]
    target = torch.minimum(uniforms * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(mass, target[:, None], right=True)[:, 0]


def _fill(
    generator: Generator, prompts: Tensor, drawn: Tensor, top_p: float, rng: torch.Generator
) -> None:
    """Writes the sampled tokens into `drawn`, [n, steps], row by row until the end token."""
    from transformers import DynamicCache

    device, form = generator.device, generator.format
    separators = len(form.columns) - 1
    cache = DynamicCache(config=generator.model.config)
    rows = torch.arange(len(prompts))
    tokens = prompts
    unfinished = torch.ones(len(prompts), dtype=torch.bool)
    open_fields = torch.full((len(prompts),), separators)
    for step in range(drawn.shape[1]):
        with generator.autocast():
            logits = generator.model(
                input_ids=tokens.to(device), **with_cache(generator.model, cache)
            ).logits[:, -1]
        allowed = generator.sampleable.expand(len(rows), -1).clone()
        allowed[:, form.separator] = (open_fields > 0).to(device)
        uniforms = torch.rand(len(rows), 2, generator=rng).to(device)
        chosen = nucleus_sample(logits.masked_fill(~allowed, -torch.inf), top_p, uniforms).cpu()
        drawn[rows[unfinished], step] = chosen[unfinished]
        open_fields -= (chosen == form.separator).long()
        unfinished &= chosen != form.end
        tokens = chosen[:, None]
        if not unfinished.any():
            return
        if unfinished.float().mean() < COMPACT_AT:
            kept = torch.nonzero(unfinished)[:, 0]
            cache.batch_select_indices(kept.to(device))
            rows, tokens = rows[kept], tokens[kept]
            unfinished, open_fields = unfinished[kept], open_fields[kept]


def _collect(generator: Generator, prompts: np.ndarray, drawn: np.ndarray) -> Samples:
    lengths = (drawn != generator.format.pad).sum(1)
    return Samples(
        ids=tuple(
            np.concatenate([prompt, row[:length]])
            for prompt, row, length in zip(prompts, drawn, lengths, strict=True)
        ),
        complete=(drawn == generator.format.end).any(1),
    )
