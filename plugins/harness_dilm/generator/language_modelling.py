"""Class-conditional language modelling: the generator's loss and training (DiLM, stage 1)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from harness.context import StageContext
from harness.kit.files.named_arrays import prefixed, without_prefix
from harness.kit.files.resume_point import ResumePoint
from harness.kit.training.batching import EncodedRows, group_overhead, length_groups, sample_batches
from harness.randomness import seeded
from harness.types import Recipe
from harness_dilm.generator.model import Generator
from harness_dilm.optimiser import Optimiser
from harness_dilm.options import LanguageModelOptions, Normaliser

PAD_MULTIPLE = 8
MAX_LOGITS = 1 << 27
"""Most logits of one forward pass, 512 MiB of float32."""


def negative_log_likelihoods(generator: Generator, rows: EncodedRows) -> Tensor:
    """[n] minus log probability of each row's tokens after the class token, end token included."""
    inputs = rows.pad(range(len(rows)), generator.format.pad, generator.device)
    with generator.autocast():
        logits = generator.model(**inputs, use_cache=False).logits
    ids = inputs["input_ids"]
    targets = torch.full_like(ids, generator.format.pad)
    given = generator.format.given
    targets[:, given - 1 : -1] = ids[:, given:]
    losses = F.cross_entropy(
        logits.flatten(0, 1).to(torch.promote_types(logits.dtype, torch.float32)),
        targets.flatten(),
        ignore_index=generator.format.pad,
        reduction="none",
    )
    return losses.view(ids.shape).sum(1)


def divisors(lengths: np.ndarray, normalise: Normaliser, given: int = 1) -> np.ndarray:
    """[n] what the rows' likelihoods are divided by.

    `batch`: L_pad - given for all, with L_pad the longest row rounded up to a multiple of 8, as
    the published code pads. `own`: each row's length - given. given: tokens never predicted.
    """
    if normalise == "own":
        return lengths - float(given)
    padded = -(-int(lengths.max()) // PAD_MULTIPLE) * PAD_MULTIPLE
    return np.full(len(lengths), padded - float(given))


def groups_of(generator: Generator, rows: EncodedRows) -> list[np.ndarray]:
    """Rows of similar length, as many at once as the logits' memory allows."""
    vocabulary = len(generator.sampleable)
    return length_groups(
        rows.lengths,
        len(rows),
        overhead=group_overhead(generator.device),
        max_tokens=MAX_LOGITS // vocabulary,
    )


def sequence_losses(generator: Generator, rows: EncodedRows, scale: np.ndarray) -> Tensor:
    """[n] negative log-likelihoods over `scale`, with their graph; padding changes nothing."""
    groups = groups_of(generator, rows)
    parts = [negative_log_likelihoods(generator, rows.take(group)) for group in groups]
    back = torch.from_numpy(np.argsort(np.concatenate(groups))).to(generator.device)
    return torch.cat(parts)[back] / torch.from_numpy(scale).to(parts[0])


def score(generator: Generator, rows: EncodedRows, normalise: Normaliser) -> np.ndarray:
    """[n] losses without gradient or dropout; `batch` takes all rows as one batch."""
    losses = np.empty(len(rows))
    with torch.inference_mode(), generator.mode(dropout=False):
        for group in groups_of(generator, rows):
            losses[group] = negative_log_likelihoods(generator, rows.take(group)).cpu().numpy()
    return losses / divisors(rows.lengths, normalise, generator.format.given)


def backward_language_loss(
    generator: Generator, rows: EncodedRows, normalise: Normaliser, share: float = 1.0
) -> float:
    """Adds the gradient of `share` times the rows' mean loss; returns the mean loss."""
    scale = divisors(rows.lengths, normalise, generator.format.given)
    total = 0.0
    for group in groups_of(generator, rows):
        part = rows.take(group)
        losses = negative_log_likelihoods(generator, part)
        loss = (losses / torch.from_numpy(scale[group]).to(losses)).sum() / len(rows)
        (share * loss).backward()
        total += loss.item()
    return total


def train_language_model(
    generator: Generator,
    rows: EncodedRows,
    options: LanguageModelOptions,
    context: StageContext,
    resume_point: ResumePoint | None = None,
) -> np.ndarray:
    """Trains in place on real rows behind their class tokens; the last weights stay.

    Goes on from an earlier attempt's resume point: every draw depends on the number of its step
    alone, so the result is the same.

    Returns:
        [lm_steps] mean loss of each batch.
    """
    recipe = Recipe(
        steps=options.lm_steps,
        batch_size=options.lm_batch_size,
        learning_rate=options.lm_learning_rate,
        warmup=options.lm_warmup,
        weight_decay=options.weight_decay,
        clip_norm=options.clip_norm,
    )
    optimiser = Optimiser(generator.model, recipe, "the language model")
    losses = np.empty(recipe.steps, dtype=np.float32)
    start = _resume(generator, optimiser, losses, resume_point.read() if resume_point else {})
    batches = sample_batches(
        len(rows), recipe.batch_size, recipe.steps, context.numpy_generator("lm-batches")
    )
    left = islice(batches, start, None)
    with seeded(context.seed_for("lm-dropout")), generator.mode(dropout=True):
        for step, batch in enumerate(
            context.track(left, "training the language model", total=recipe.steps - start), start
        ):
            torch.manual_seed(context.seed_for("lm-dropout", step))
            losses[step] = backward_language_loss(generator, rows.take(batch), options.normalise)
            optimiser.step()
            if resume_point is not None and resume_point.due():
                resume_point.write(
                    {
                        "losses": losses[: step + 1],
                        **prefixed("model", generator.parameters()),
                        **prefixed("optimiser", optimiser.arrays()),
                    }
                )
    return losses


def _resume(
    generator: Generator,
    optimiser: Optimiser,
    losses: np.ndarray,
    arrays: Mapping[str, np.ndarray],
) -> int:
    """Puts everything where it was when `arrays` were taken; returns the steps done by then."""
    if not arrays:
        return 0
    generator.load_parameters(without_prefix("model", arrays))
    optimiser.restore(without_prefix("optimiser", arrays))
    done = len(arrays["losses"])
    losses[:done] = arrays["losses"]
    return done
