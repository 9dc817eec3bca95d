"""DiLM's second stage: the generator learns to give samples whose gradients match real ones."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from harness.context import StageContext
from harness.kit.batching import EncodedRows, sample_batches
from harness.kit.embedding import embed_rows
from harness.kit.text_classifier import TextClassifier
from harness.randomness import seeded
from harness.types import LABEL_COLUMN, Recipe, TaskData
from harness_dilm.clusters import DiverseBatches, clustered_batches, shuffled_batches
from harness_dilm.full_network import NetworkBatch, matched_parameters
from harness_dilm.generator import Generator
from harness_dilm.language_modelling import backward_language_loss, divisors, sequence_losses
from harness_dilm.learner import Learner, RowTable
from harness_dilm.matching import HeadBatch, Match, backward_matching_loss, sample_weights
from harness_dilm.optimiser import Optimiser
from harness_dilm.options import MatchingOptions
from harness_dilm.synthesis import SyntheticRows, synthesise
from harness_dilm.teachers import Teacher, class_pool, random_teacher, representative_teachers

Picks = tuple[np.ndarray, ...]
"""Positions of one batch's rows, by class."""


@dataclass(frozen=True)
class Pool:
    """The samples in use since generator update `born`.

    sequences: as they were sampled; table: as the learner reads them; batches: by class.
    """

    sequences: EncodedRows
    table: RowTable
    batches: tuple[DiverseBatches, ...]
    born: int

    def picks(self, step: int) -> Picks:
        """The samples of each class at a generator update."""
        return tuple(batches.batch(step - self.born) for batches in self.batches)


@dataclass
class Trace:
    """What happened at each generator update.

    similarity: mean over classes; gradient_norm: of the generator, before clipping; age:
    updates since the samples were generated; degenerate: classes with a zero gradient;
    used_share: of the samples of each regeneration, those that entered a batch.
    """

    similarity: list[float] = field(default_factory=list)
    gradient_norm: list[float] = field(default_factory=list)
    age: list[float] = field(default_factory=list)
    degenerate: list[float] = field(default_factory=list)
    used_share: list[float] = field(default_factory=list)

    def arrays(self) -> dict[str, np.ndarray]:
        return {name: np.asarray(values, np.float64) for name, values in vars(self).items()}


class GradientMatching:
    """The state of stage 2: generator, learner, real rows and the samples in use."""

    def __init__(
        self,
        generator: Generator,
        classifier: TextClassifier,
        task: TaskData,
        sequences: EncodedRows,
        max_new_tokens: int,
        options: MatchingOptions,
        context: StageContext,
    ) -> None:
        self.generator = generator
        self.learner = Learner(classifier, options, context)
        self.options = options
        self.context = context
        self.classes = len(task.label_names)
        self._max_new_tokens = max_new_tokens
        labels = np.asarray(task.train[LABEL_COLUMN])
        members = class_pool(labels, options.pool, context.numpy_generator("pool"))
        self._labels = labels[members]
        self._sequences = sequences.take(members)
        rows = task.train.select(members)
        self._real = RowTable(classifier.encode(rows, context))
        self._teachers: tuple[Teacher, ...] = ()
        if options.representative:
            self._teachers = representative_teachers(
                embed_rows(task, "train", options.proxy, options.embedding, context, rows=members),
                self._labels,
                self.classes,
                options.teacher_rows,
                options.teachers,
                context,
            )
        self._recipe = Recipe(
            steps=options.updates,
            batch_size=options.lm_batch_size,
            learning_rate=options.match_learning_rate,
            warmup=options.match_warmup,
            weight_decay=options.weight_decay,
            clip_norm=options.clip_norm,
        )

    def run(self) -> Trace:
        """Trains the generator in place; its last weights stay."""
        options = self.options
        optimiser = Optimiser(self.generator.model, self._recipe, "the generator")
        replays = sample_batches(
            len(self._labels),
            options.lm_batch_size,
            options.updates,
            self.context.numpy_generator("replay"),
        )
        trace = Trace()
        pool: Pool | None = None
        with seeded(self.context.seed_for("score-dropout")):
            for step, replay in enumerate(
                self.context.track(replays, "matching gradients", total=options.updates)
            ):
                pool = self._prepare(step, pool, trace)
                matches = self.accumulate(pool.picks(step), pool, self.teacher(step), replay)
                trace.gradient_norm.append(optimiser.step())
                similarities = [match.alignment.similarity for match in matches]
                trace.similarity.append(float(np.mean(similarities)))
                trace.degenerate.append(sum(match.alignment.degenerate for match in matches))
                trace.age.append(step - pool.born)
            self._retire(pool, options.updates, trace)
        return trace

    def accumulate(
        self, picks: Picks, pool: Pool, teacher: Teacher, replay: np.ndarray
    ) -> list[Match]:
        """Adds the generator's gradient of one update; returns the match of each class."""
        options = self.options
        weights = self._weights(picks, pool)
        detached = [weight.detach() for weight in weights]
        match = self._match_heads if options.match == "head" else self._match_networks
        matches = match(picks, pool, teacher, detached)
        backward_matching_loss(weights, matches, 1.0 - options.lm_weight)
        if options.lm_weight > 0:
            rows = self._sequences.take(replay)
            with self.generator.mode(dropout=options.score_dropout):
                backward_language_loss(
                    self.generator, rows, options.normalise, share=options.lm_weight
                )
        return matches

    def teacher(self, step: int) -> Teacher:
        """The real rows of a generator update: coresets cycled in order, or drawn anew."""
        if self._teachers:
            return self._teachers[step % len(self._teachers)]
        rng = self.context.numpy_generator("random-teacher", step)
        return random_teacher(self._labels, self.classes, self.options.teacher_rows, rng)

    def regenerate(self, step: int) -> Pool:
        """New samples of the present generator, grouped into batches."""
        options = self.options
        rows = synthesise(
            self.generator,
            [options.synthetic_batch * options.dms_batches] * self.classes,
            self._max_new_tokens,
            options,
            self.context,
            "pool",
            step,
        )
        dataset = rows.dataset(range(len(rows)))
        return Pool(
            sequences=rows.sequences,
            table=RowTable(self.learner.classifier.encode(dataset, self.context)),
            batches=self._batches(rows, step),
            born=step,
        )

    def _prepare(self, step: int, pool: Pool | None, trace: Trace) -> Pool:
        """Regenerates the samples and resets or trains the learner when they are due."""
        options = self.options
        loop, inner = divmod(step, options.inner_steps)
        due = step % options.dms_interval == 0
        before_reset = due and inner == 0 and options.dms_encoder == "stale"
        if due:
            self._retire(pool, step, trace)
        if before_reset:
            pool = self.regenerate(step)
        if inner == 0:
            self.learner.reset(loop)
        else:
            self.learner.train(self._real, self._labels, loop, inner)
        if pool is None or (due and not before_reset):
            pool = self.regenerate(step)
        return pool

    def _retire(self, pool: Pool | None, step: int, trace: Trace) -> None:
        if pool is not None:
            shares = [batches.used_share(step - pool.born) for batches in pool.batches]
            trace.used_share.append(float(np.mean(shares)))

    def _batches(self, rows: SyntheticRows, step: int) -> tuple[DiverseBatches, ...]:
        options, size = self.options, self.options.synthetic_batch
        members = [rows.of_class(label) for label in range(self.classes)]
        if not options.dms:
            rng = self.context.numpy_generator("shuffled-batches", step)
            return tuple(shuffled_batches(own, size, rng) for own in members)
        embeddings = self._embed(rows)
        return tuple(
            clustered_batches(
                own, embeddings[own], size, self.context.torch_generator("clusters", step, label)
            )
            for label, own in enumerate(members)
        )

    def _embed(self, rows: SyntheticRows) -> np.ndarray:
        dataset = rows.dataset(range(len(rows)))
        classifier, pooling = self.learner.classifier, self.options.embedding
        if self.options.dms_encoder == "pretrained":
            with self.learner.pretrained():
                return classifier.embed(dataset, pooling, self.context)
        return classifier.embed(dataset, pooling, self.context)

    def _weights(self, picks: Picks, pool: Pool) -> list[Tensor]:
        """Each class's sample weights, from one scoring pass; L_pad is each class's own."""
        options = self.options
        lengths = pool.sequences.lengths
        scale = np.concatenate([divisors(lengths[own], options.normalise) for own in picks])
        rows = pool.sequences.take(np.concatenate(picks))
        with self.generator.mode(dropout=options.score_dropout):
            losses = sequence_losses(self.generator, rows, scale)
        by_class = losses.split([len(own) for own in picks])
        return [sample_weights(own, options.temperature) for own in by_class]

    def _match_heads(
        self, picks: Picks, pool: Pool, teacher: Teacher, weights: list[Tensor]
    ) -> list[Match]:
        """In closed form; the encoder runs once on all real and once on all synthetic rows."""
        real = self._head_batches(self._real, teacher)
        synthetic = self._head_batches(pool.table, picks)
        return [
            batch.match(target.mean_gradient(), weight)
            for batch, target, weight in zip(synthetic, real, weights, strict=True)
        ]

    def _head_batches(self, table: RowTable, picks: Picks) -> list[HeadBatch]:
        features = self.learner.head_inputs(table, np.concatenate(picks))
        head = self.learner.classifier.head
        return [
            HeadBatch.at(head, own, label)
            for label, own in enumerate(features.split([len(own) for own in picks]))
        ]

    def _match_networks(
        self, picks: Picks, pool: Pool, teacher: Teacher, weights: list[Tensor]
    ) -> list[Match]:
        classifier = self.learner.classifier
        names = matched_parameters(classifier, "full")
        matches = []
        for label, weight in enumerate(weights):
            real = NetworkBatch(classifier, names, self._real.rows.take(teacher[label]), label)
            synthetic = NetworkBatch(classifier, names, pool.table.rows.take(picks[label]), label)
            matches.append(synthetic.match(real.mean_gradient(), weight))
        return matches
