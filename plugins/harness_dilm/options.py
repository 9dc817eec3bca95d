"""The options of `vanilla-lm` and `dilm`; defaults are those of the paper's configurations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge

from harness.errors import UsageError
from harness.kit.text.classifier import Pooling
from harness.options import (
    Count,
    Natural,
    NonNegative,
    Positive,
    PositiveShare,
    Share,
    later_option,
)
from harness_dilm.generator.names import fingerprint, names_student

Selection = Literal["k-means", "random", "herding", "lm-loss"]
Normaliser = Literal["batch", "own"]


@dataclass(frozen=True)
class LanguageModelOptions:
    """A class-conditional generator, its sampling, and the choice among its samples.

    generator: `gpt2`, `gpt2:tiny` (that architecture, trained from scratch with a vocabulary of
        the task's own), a local folder, a hub id with its revision, `owner/name@revision`, or a
        student that is a pre-trained causal language model, such as `smollm2:135m`.
    one_generator: train and match it once, and draw the sets of all seeds from it, as published;
        else each seed has a generator of its own, at its cost, and intervals cover its training.
    tiny_layers, tiny_width, tiny_heads, tiny_vocabulary, tiny_dropout: of `gpt2:tiny`.
    class_start: what the class tokens of a pre-trained generator start as: copies of its start
        token, as published, or the mean embedding of the class's name, behind the start token. A
        model trained for a few hundred steps learns to tell copies apart no better than chance;
        the first place of a row says little to it.
    max_length: tokens of a row, class token included; 0 is the generator's own limit.
    dtype: of the generator's forward passes; weights stay float32.

    lm_steps, lm_batch_size, lm_learning_rate, lm_warmup: class-conditional training, with AdamW
        on a cosine schedule; warm-up as a share of the steps.
    weight_decay, clip_norm: of every optimiser of the method.
    normalise: what a row's loss is divided by: the padded length of its batch, as in the
        published code, or its own length.

    top_p: nucleus of the sampling distribution; there is no top-k, and the temperature is 1.
    max_new_tokens: tokens after the class token; 0 is the 99 % quantile of the train rows.
    generation_batch: rows sampled at once.
    max_failures: malformed samples tolerated, as a multiple of the samples asked for.

    over_sample: samples generated for each one kept.
    selection: how those to keep are chosen: the sample nearest to each k-means centroid, at
        random, by herding, or by the lowest generator loss.
    embedding: how the proxy's last layer becomes one vector wherever texts are clustered.
    proxy: the student that embeds, and that `dilm` matches gradients of; the suite's if empty.
    """

    generator: str = "gpt2"
    tiny_layers: Count = 4
    tiny_width: Count = 256
    tiny_heads: Count = 4
    tiny_vocabulary: Annotated[int, Ge(300)] = 4096
    tiny_dropout: Share = 0.1
    max_length: Natural = 0
    dtype: Literal["float32", "bfloat16"] = "bfloat16"

    lm_steps: Natural = 80_000
    lm_batch_size: Count = 64
    lm_learning_rate: NonNegative = 1e-5
    lm_warmup: Share = 0.1
    weight_decay: NonNegative = 0.01
    clip_norm: NonNegative = 1.0
    normalise: Normaliser = "batch"

    top_p: PositiveShare = 0.95
    max_new_tokens: Natural = 0
    generation_batch: Count = 512
    max_failures: NonNegative = 1.0

    over_sample: Count = 100
    selection: Selection = "k-means"
    embedding: Pooling = "cls"
    proxy: str = ""
    one_generator: bool = later_option(False)
    class_start: Literal["copy", "name"] = later_option("copy")

    modalities: ClassVar[tuple[str, ...]] = ("text-classification",)

    def __post_init__(self) -> None:
        if self.tiny_width % self.tiny_heads:
            raise UsageError(
                f"tiny_width = {self.tiny_width} is not a multiple of"
                f" tiny_heads = {self.tiny_heads}"
            )

    def fingerprint(self) -> str:
        """The generator's initial weights."""
        return fingerprint(self.generator)

    @property
    def uses_students(self) -> tuple[str, ...]:
        """The generator, where it is a student."""
        return (self.generator,) if names_student(self.generator) else ()


@dataclass(frozen=True)
class MatchingOptions(LanguageModelOptions):
    """Of gradient matching, besides those of the language model.

    match_steps: outer loops, each of which resets the learner; inner_steps: generator updates in
    each.
    match_learning_rate, match_warmup: of the generator, cosine over all its updates.
    synthetic_batch: samples of a class in one update, one from each cluster.
    temperature: of the softmax over minus the samples' losses, which gives their weights.
    lm_weight: share of the language-model loss on real rows in the generator's loss.
    match: the learner's parameters whose gradients are compared: its last linear layer or all.
    score_dropout: whether the generator's dropout is on while it scores samples.

    learner_steps_between, learner_batch_size, learner_learning_rate, learner_warmup: updates of
        the learner on real rows between two generator updates; its schedule is a cosine over
        `inner_steps * learner_steps_between` steps of which the last share is never taken.
    learner_updates: whether those train the whole learner or only its head. With a frozen
        encoder every row is embedded once, and an update costs microseconds.
    learner_trajectories: number of learner trajectories; outer loop i reuses trajectory i mod n,
        whose states and head gradients on the coresets are computed once and kept in the stage's
        folder, `inner_steps` times the learner's size each. 0 trains a new one in every outer
        loop, as published.
    learner_max_length: tokens of a row the learner sees.
    learner: whether each outer loop starts it from the proxy's pre-trained encoder or from one of
        random weights, drawn once by the seed. Teachers and `dms_encoder = pretrained` embed with
        the proxy in both cases.
    pool: train rows that stand for the train split in matching, drawn by class; 0 takes all.

    representative: real batches are coresets, the rows nearest to k-means centroids of the
        class; else they are drawn at random.
    teachers, teacher_rows: how many coresets, taken in turn, and their rows of each class.
    dms: each synthetic batch takes one sample from each cluster of the generated ones; else
        it is drawn at random from them.
    dms_interval: generator updates between two regenerations of the samples.
    dms_batches: batches' worth of samples of each class at a regeneration.
    dms_encoder: what embeds them when a regeneration falls on a reset: the learner as the previous
        outer loop left it (`stale`, as published), as it is reset (`fresh`), or the raw encoder.
    """

    match_steps: Count = 2_000
    inner_steps: Count = 10
    match_learning_rate: NonNegative = 3e-7
    match_warmup: Share = 0.05
    synthetic_batch: Count = 64
    temperature: Positive = 1.0
    lm_weight: Share = 0.0
    match: Literal["head", "full"] = "head"
    score_dropout: bool = True

    learner_steps_between: Natural = 20
    learner_batch_size: Count = 64
    learner_learning_rate: NonNegative = 1e-4
    learner_warmup: Share = 0.5
    learner_updates: Literal["all", "head"] = "all"
    learner_max_length: Annotated[int, Ge(8)] = 512
    learner: Literal["pretrained", "random"] = later_option("pretrained")
    learner_trajectories: Natural = later_option(0)
    pool: Natural = 0

    representative: bool = True
    teachers: Count = 10
    teacher_rows: Count = 200
    dms: bool = True
    dms_interval: Count = 200
    dms_batches: Count = 200
    dms_encoder: Literal["stale", "fresh", "pretrained"] = "stale"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.match == "full" and self.learner_updates == "head":
            raise UsageError(
                "match = 'full' compares gradients of the whole learner, so its encoder cannot"
                " be frozen",
                hint="Use learner_updates = 'all'.",
            )

    @property
    def updates(self) -> int:
        """Generator updates in all."""
        return self.match_steps * self.inner_steps

    def learner_place(self, update: int) -> tuple[int, int]:
        """Which of the learner's trajectories an update follows, and how many rounds of it."""
        loop, inner = divmod(update, self.inner_steps)
        return loop % self.learner_trajectories if self.learner_trajectories else loop, inner
