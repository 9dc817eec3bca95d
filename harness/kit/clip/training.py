"""Trains a CLIP on images with captions, with the loop that all students share."""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from harness.context import StageContext
from harness.errors import UsageError
from harness.kit.clip.contrastive.features import ClipFeatures
from harness.kit.clip.contrastive.pair_losses import contrastive_loss
from harness.kit.clip.image_augmentation import Augmentation
from harness.kit.clip.image_rows import ImageTextRows
from harness.kit.clip.model import ClipModel
from harness.kit.clip.row_parts import each_once, in_parts
from harness.kit.modes import evaluating
from harness.kit.training.loop import Validation, train_model, weighted_rows
from harness.types import Recipe

LARGEST_SCALE = math.log(100)


@dataclass(frozen=True)
class ClipBatch:
    """Some rows as a model takes them.

    rows: [b] places in the train rows; visits: [b] how often each row was drawn before, its epoch;
    images: [b, 3, h, w] float32, normalised; tokens: [b, t] int64; weights: [b] float32, positive;
    dtype: of the towers' forward pass, for `autocast`.
    """

    rows: np.ndarray
    visits: np.ndarray
    images: Tensor
    tokens: Tensor
    weights: Tensor
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __len__(self) -> int:
        return len(self.rows)

    def autocast(self) -> AbstractContextManager[None]:
        """The recipe's precision, for a forward pass of the towers; losses stay outside."""
        enabled = self.dtype == "bfloat16"
        return torch.autocast(self.images.device.type, torch.bfloat16, enabled=enabled)


class ClipObjective(Protocol):
    """What a batch's loss is.

    It may own parameters, such as projections and heads, which are trained along and never saved.
    """

    def parameters(self) -> Iterable[nn.Parameter]:
        """Its own parameters, on the model's device, at the recipe's rate."""

    def loss(self, model: ClipModel, batch: ClipBatch, step: int, steps: int) -> Tensor:
        """A scalar with graph. step: counted from 0; steps: of the whole training."""

    def after_step(self, model: ClipModel, step: int) -> None:
        """After an update and the clamp of `logit_scale`, such as clamps of its own."""


class ContrastiveObjective:
    """The loss of the first CLIP (Radford et al. 2021, figure 3), of SigLIP with a bias.

    A row counts by its weight; a column is one of the texts.
    """

    def parameters(self) -> Iterable[nn.Parameter]:
        return ()

    def loss(self, model: ClipModel, batch: ClipBatch, step: int, steps: int) -> Tensor:
        del step, steps
        return contrastive_loss(encode_batch(model, batch), batch.weights)

    def after_step(self, model: ClipModel, step: int) -> None:
        del model, step


def encode_batch(model: ClipModel, batch: ClipBatch) -> ClipFeatures:
    """The embeddings of a batch with graph, in the recipe's precision.

    With `model.training_rows` the activations of only so many rows are kept at once: the rest is
    computed again in the backward pass. Since the loss and the temperature stay outside, every
    gradient is that of the large batch.
    """
    core, size = model.model, model.training_rows
    with batch.autocast():
        (image,) = in_parts(lambda part: (model.image_features(part),), size, batch.images)
        (text,) = in_parts(
            lambda part: each_once(lambda tokens: (model.text_features(tokens),), part),
            size,
            batch.tokens,
        )
    return ClipFeatures(image, text, core.logit_scale.exp(), core.logit_bias)


def train_clip(
    model: ClipModel,
    rows: ImageTextRows,
    weights: np.ndarray,
    objective: ClipObjective,
    recipe: Recipe,
    context: StageContext,
    *,
    augmentation: Augmentation | None = None,
    validation: Validation | None = None,
) -> None:
    """Trains in place by `train_model`, whose arguments and errors see.

    Rows of weight 0 are left out; `logit_scale` is kept in [0, ln 100] after every step, as
    open_clip does.

    Args:
        rows: images of the model's size.
        weights: [n] non-negative.
        augmentation: of the images, by row and visit; none when None.

    Raises:
        UsageError: batches of one row, which have nothing to be told apart from.
    """
    kept = weighted_rows(weights)
    if min(len(kept), recipe.batch_size) < 2:
        raise UsageError(
            f"a contrastive loss needs two rows a batch: {len(kept)} rows in batches of"
            f" {recipe.batch_size}"
        )
    feed = _Feed(model, rows, kept, weights, recipe.dtype, augmentation)
    steps = iter(range(recipe.steps))

    def accumulate(chosen: np.ndarray) -> Tensor:
        loss = objective.loss(model, feed.batch(chosen), next(steps), recipe.steps)
        loss.backward()
        return loss.detach()

    def after_step(step: int) -> None:
        clamp_scale(model)
        objective.after_step(model, step)

    train_model(
        _Together(model, objective),
        len(kept),
        accumulate,
        recipe,
        context,
        after_step=after_step,
        validation=validation,
    )
    model.model.eval()


def clamp_scale(model: ClipModel) -> None:
    """Keeps `logit_scale` in [0, ln 100]."""
    with torch.no_grad():
        model.model.logit_scale.clamp_(0, LARGEST_SCALE)


def mean_contrastive_loss(model: ClipModel, rows: ImageTextRows, batch_size: int) -> float:
    """The mean loss of consecutive batches, dropout off: what a checkpoint is chosen by.

    The last batch takes the rows that are left over along, so that none is of one row.
    """
    images = torch.from_numpy(model.encode_images(rows.images))
    texts = torch.from_numpy(model.encode_text(rows.captions))
    core = model.model
    starts = range(0, max(1, len(rows) - 1), max(2, batch_size))
    total = 0.0
    with evaluating(core):
        bias = None if core.logit_bias is None else core.logit_bias.cpu()
        for start, end in zip(starts, [*starts[1:], len(rows)], strict=True):
            part = slice(start, end)
            made = ClipFeatures(images[part], texts[part], core.logit_scale.exp().cpu(), bias)
            total += float(contrastive_loss(made)) * (end - start)
    return total / len(rows)


class _Feed:
    """Makes batches of rows, and counts how often each row was drawn."""

    def __init__(
        self,
        model: ClipModel,
        rows: ImageTextRows,
        kept: np.ndarray,
        weights: np.ndarray,
        dtype: Literal["float32", "bfloat16"],
        augmentation: Augmentation | None,
    ) -> None:
        self._model = model
        self._augmentation = augmentation
        self._rows = rows
        self._kept = kept
        self._weights = torch.from_numpy(weights.astype(np.float32))
        self._tokens = torch.from_numpy(model.tokenizer.encode(rows.captions))
        self._visits = np.zeros(len(rows), dtype=np.int64)
        self._dtype = dtype

    def batch(self, chosen: np.ndarray) -> ClipBatch:
        """chosen: [b] places among the rows that count."""
        rows = self._kept[chosen]
        # A batch that spans two epochs may hold a row twice; the second time is a later visit.
        visits = self._visits[rows] + _occurrence(rows)
        np.add.at(self._visits, rows, 1)
        device = self._model.device
        drawn = None
        if self._augmentation is not None:
            drawn = self._augmentation.draw(rows, self._augmentation.numbers(visits))
        places = torch.from_numpy(rows)
        return ClipBatch(
            rows=rows,
            visits=visits,
            images=self._model.pixels(self._rows.images[rows], drawn),
            tokens=self._tokens[places].to(device),
            weights=self._weights[places].to(device),
            dtype=self._dtype,
        )


class _Together(nn.Module):
    """A model and its objective's own parameters, for one optimizer."""

    def __init__(self, model: ClipModel, objective: ClipObjective) -> None:
        super().__init__()
        self.clip = model.model
        self.objective = nn.ParameterList(objective.parameters())


def _occurrence(rows: np.ndarray) -> np.ndarray:
    """[b] how often each value stood before in the array."""
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    counts = np.diff(np.r_[starts, len(rows)])
    before = np.empty(len(rows), dtype=np.int64)
    before[order] = np.arange(len(rows)) - np.repeat(starts, counts)
    return before
