"""The options of LESS, with the published values as defaults, checked."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

from harness.errors import UsageError
from harness.kit.gradients.influence import Aggregation, Reduction
from harness.kit.language.lora import LoraOptions
from harness.options import (
    Count,
    Natural,
    NonNegative,
    Positive,
    PositiveShare,
    ShareBelowOne,
    later_option,
)

FeatureKind = Literal["adam", "adam_less_compat", "sgd"]
Backend = Literal["hooks", "loop"]
Projection = Literal["none", "rademacher", "sparse", "srht"]


@dataclass(frozen=True)
class WarmUpOptions:
    """Of the short training run whose checkpoints the gradients are taken at.

    proxy: the student that is warmed up; the suite's when empty.
    fraction: of the pool's rows, drawn anew for each seed; epochs: each leaves one checkpoint.
    batch_size, learning_rate: of AdamW without decay; warmup: the share of the steps over which
    the rate rises, before it falls as a line; clip_norm: 0 turns clipping off.
    max_length: tokens kept of a row, here and for gradients.
    pool: how many train rows to consider, here and for the choice; all when 0.
    lora_rank, lora_alpha, lora_dropout, lora_targets: of the adapters, the only weights trained.
    """

    proxy: str = ""
    fraction: PositiveShare = 0.05
    epochs: Count = 4
    batch_size: Count = 128
    learning_rate: Positive = 2e-5
    warmup: ShareBelowOne = 0.03
    clip_norm: NonNegative = 1.0
    max_length: Count = 2048
    lora_rank: Count = 128
    lora_alpha: Count = 512
    lora_dropout: ShareBelowOne = 0.1
    lora_targets: tuple[str, ...] = ()
    pool: Natural = later_option(0)

    @property
    def lora(self) -> LoraOptions:
        return LoraOptions(self.lora_rank, self.lora_alpha, self.lora_dropout, self.lora_targets)

    def warm_up_inputs(self) -> dict[str, Any]:
        """The options that the checkpoints depend on."""
        return {field.name: getattr(self, field.name) for field in fields(WarmUpOptions)}


@dataclass(frozen=True)
class LessOptions(WarmUpOptions):
    """Of features, scores and selection.

    features: of training rows: Adam's step (`adam`), the formula of the published code
    (`adam_less_compat`), or the gradient (`sgd`). The target's are always gradients.
    centred: subtract from each feature the mean feature of 64 rows, drawn for each seed.
    target_rows: of each subtask, drawn from validation for each seed; all when 0.
    scoring: `exact` takes products with one direction a subtask; `store` keeps the features of
    the pool, so that later targets need no gradients of it.
    projection, dimensions, store_dtype: of stored features; projection `none` keeps all
    coordinates, and float16 rows are scaled so that none is too small for it.
    aggregation: a subtask's score is the mean of a row's cosines with its examples, as in the
    published code, or the cosine with their mean.
    checkpoint_weights: by the mean learning rate of a checkpoint's epoch, or all alike.
    subtasks: a row's score is that of its best subtask, or the mean of all.
    tokens: most tokens of all chosen rows together; 0 leaves the rows as the only limit.
    gradients: of single examples, by hooks in batches, or one example after the other for models
    that the hooks do not know; both give the same.
    """

    features: FeatureKind = "adam"
    centred: bool = False
    target_rows: Natural = 32
    scoring: Literal["exact", "store"] = "exact"
    projection: Projection = "none"
    dimensions: Count = 8192
    store_dtype: Literal["float16", "float32"] = "float16"
    aggregation: Aggregation = "mean_of_cosines"
    checkpoint_weights: Literal["lr", "uniform"] = "lr"
    subtasks: Reduction = "max"
    tokens: Natural = 0
    gradients: Backend = "hooks"

    def __post_init__(self) -> None:
        if self.scoring == "exact" and self.projection != "none":
            raise UsageError(
                f"less: scoring 'exact' needs no projection, and '{self.projection}' was asked for",
                hint="Set scoring to 'store', or projection to 'none'.",
            )

    def score_inputs(self) -> dict[str, Any]:
        """The options that the scores depend on."""
        known = {field.name: getattr(self, field.name) for field in fields(LessOptions)}
        del known["tokens"]
        return known
