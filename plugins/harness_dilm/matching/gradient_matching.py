"""DiLM's second stage: the generator learns to give samples whose gradients match real ones."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from harness.context import StageContext
from harness.kit.embedding import embed_rows
from harness.kit.files.named_arrays import prefixed, without_prefix
from harness.kit.files.resume_point import ResumePoint
from harness.kit.text.classifier import TextClassifier
from harness.kit.training.batching import EncodedRows, sample_batches
from harness.randomness import seeded
from harness.types import LABEL_COLUMN, Recipe, TaskData
from harness_dilm.generator.language_modelling import (
    backward_language_loss,
    divisors,
    sequence_losses,
)
from harness_dilm.generator.model import Generator
from harness_dilm.generator.synthesis import SyntheticRows, synthesise
from harness_dilm.matching.clusters import DiverseBatches, clustered_batches, shuffled_batches
from harness_dilm.matching.full_network import NetworkBatch, matched_parameters
from harness_dilm.matching.learner import Learner, RowTable
from harness_dilm.matching.learner_states import LearnerStates
from harness_dilm.matching.pool import Picks, SamplePool, Trace
from harness_dilm.matching.similarity import (
    HeadBatch,
    Leaves,
    Match,
    backward_matching_loss,
    sample_weights,
)
from harness_dilm.matching.teachers import (
    Teacher,
    class_pool,
    random_teacher,
    representative_teachers,
)
from harness_dilm.optimiser import Optimiser
from harness_dilm.options import MatchingOptions


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
        self._targets: dict[tuple[int, int, int], list[Leaves]] = {}
        self._recipe = Recipe(
            steps=options.updates,
            batch_size=options.lm_batch_size,
            learning_rate=options.match_learning_rate,
            warmup=options.match_warmup,
            weight_decay=options.weight_decay,
            clip_norm=options.clip_norm,
        )

    def run(self, resume_point: ResumePoint | None = None) -> Trace:
        """Trains the generator in place; its last weights stay.

        Goes on from an earlier attempt's resume point: every draw depends on the number of its
        update alone, so the result is the same.
        """
        options = self.options
        optimiser = Optimiser(self.generator.model, self._recipe, "the generator")
        states = self._learner_states(resume_point)
        trace, pool = self._resume(optimiser, states, resume_point.read() if resume_point else {})
        start = len(trace.similarity)
        replays = sample_batches(
            len(self._labels),
            options.lm_batch_size,
            options.updates,
            self.context.numpy_generator("replay"),
        )
        left = islice(replays, start, None)
        with seeded(self.context.seed_for("score-dropout")):
            for step, replay in enumerate(
                self.context.track(left, "matching gradients", total=options.updates - start), start
            ):
                torch.manual_seed(self.context.seed_for("score-dropout", step))
                pool = self._prepare(step, states, pool, trace)
                matches = self.accumulate(step, pool.picks(step), pool, self.teacher(step), replay)
                trace.gradient_norm.append(optimiser.step())
                similarities = [match.alignment.similarity for match in matches]
                trace.similarity.append(float(np.mean(similarities)))
                trace.degenerate.append(sum(match.alignment.degenerate for match in matches))
                trace.age.append(step - pool.born)
                if resume_point is not None and resume_point.due():
                    resume_point.write(self._arrays(optimiser, trace, pool))
            self._retire(pool, options.updates, trace)
        return trace

    def accumulate(
        self, step: int, picks: Picks, pool: SamplePool, teacher: Teacher, replay: np.ndarray
    ) -> list[Match]:
        """Adds the generator's gradient of one update; returns the match of each class."""
        options = self.options
        weights = self._weights(picks, pool)
        detached = [weight.detach() for weight in weights]
        if options.match == "head":
            matches = self._match_heads(picks, pool, self._head_targets(step, teacher), detached)
        else:
            matches = self._match_networks(picks, pool, teacher, detached)
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

    def regenerate(self, step: int) -> SamplePool:
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
        return SamplePool(
            sequences=rows.sequences,
            table=RowTable(self.learner.classifier.encode(dataset, self.context)),
            batches=self._batches(rows, step),
            born=step,
        )

    def _arrays(
        self, optimiser: Optimiser, trace: Trace, pool: SamplePool
    ) -> dict[str, np.ndarray]:
        """What the updates to come depend on, but for what the seed and their number give."""
        return {
            **prefixed("model", self.generator.parameters()),
            **prefixed("optimiser", optimiser.arrays()),
            **prefixed("trace", trace.arrays()),
            **prefixed("pool", pool.arrays()),
            **prefixed("known", self._real.arrays()),
        }

    def _learner_states(self, resume_point: ResumePoint | None) -> LearnerStates:
        """Kept where loops share trajectories; a head on a frozen encoder is as quickly trained."""
        kept = self.options.learner_trajectories and not self.learner.frozen
        return LearnerStates(self.learner, self._real, self._labels, resume_point if kept else None)

    def _resume(
        self, optimiser: Optimiser, states: LearnerStates, arrays: Mapping[str, np.ndarray]
    ) -> tuple[Trace, SamplePool | None]:
        """Puts everything where it was when `arrays` were taken; the beginning without any."""
        if not arrays:
            return Trace(), None
        self.generator.load_parameters(without_prefix("model", arrays))
        optimiser.restore(without_prefix("optimiser", arrays))
        self._real.restore(without_prefix("known", arrays), self.learner.classifier.device)
        trace = Trace.of_arrays(without_prefix("trace", arrays))
        states.visit(*self.options.learner_place(len(trace.similarity) - 1))
        kept = without_prefix("pool", arrays)
        return trace, SamplePool.of_arrays(kept, self.classes, self.learner.classifier.device)

    def _prepare(
        self, step: int, states: LearnerStates, pool: SamplePool | None, trace: Trace
    ) -> SamplePool:
        """Regenerates the samples and resets or trains the learner when they are due."""
        options = self.options
        due = step % options.dms_interval == 0
        at_reset = step % options.inner_steps == 0
        before_reset = due and at_reset and options.dms_encoder == "stale"
        if due:
            self._retire(pool, step, trace)
        if before_reset:
            pool = self.regenerate(step)
        states.visit(*options.learner_place(step))
        if pool is None or (due and not before_reset):
            pool = self.regenerate(step)
        return pool

    def _retire(self, pool: SamplePool | None, step: int, trace: Trace) -> None:
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

    def _weights(self, picks: Picks, pool: SamplePool) -> list[Tensor]:
        """Each class's sample weights, from one scoring pass; L_pad is each class's own."""
        options = self.options
        lengths = pool.sequences.lengths
        given = self.generator.format.given
        scale = np.concatenate([divisors(lengths[own], options.normalise, given) for own in picks])
        rows = pool.sequences.take(np.concatenate(picks))
        with self.generator.mode(dropout=options.score_dropout):
            losses = sequence_losses(self.generator, rows, scale)
        by_class = losses.split([len(own) for own in picks])
        return [sample_weights(own, options.temperature) for own in by_class]

    def _match_heads(
        self, picks: Picks, pool: SamplePool, targets: list[Leaves], weights: list[Tensor]
    ) -> list[Match]:
        """In closed form; the encoder runs once on the samples of all classes."""
        synthetic = self._head_batches(pool.table, picks)
        return [
            batch.match(target, weight)
            for batch, target, weight in zip(synthetic, targets, weights, strict=True)
        ]

    def _head_targets(self, step: int, teacher: Teacher) -> list[Leaves]:
        """The head's gradient on the real rows of each class, at once.

        Where loops share trajectories, a coreset's are kept for each state of the learner.
        """
        if not (self.options.learner_trajectories and self._teachers):
            return self._real_gradients(teacher)
        known = *self.options.learner_place(step), step % len(self._teachers)
        if known not in self._targets:
            self._targets[known] = self._real_gradients(teacher)
        return self._targets[known]

    def _real_gradients(self, teacher: Teacher) -> list[Leaves]:
        return [batch.mean_gradient() for batch in self._head_batches(self._real, teacher)]

    def _head_batches(self, table: RowTable, picks: Picks) -> list[HeadBatch]:
        features = self.learner.head_inputs(table, np.concatenate(picks))
        head = self.learner.classifier.head
        return [
            HeadBatch.at(head, own, label)
            for label, own in enumerate(features.split([len(own) for own in picks]))
        ]

    def _match_networks(
        self, picks: Picks, pool: SamplePool, teacher: Teacher, weights: list[Tensor]
    ) -> list[Match]:
        classifier = self.learner.classifier
        names = matched_parameters(classifier, "full")
        matches = []
        for label, weight in enumerate(weights):
            real = NetworkBatch(classifier, names, self._real.rows.take(teacher[label]), label)
            synthetic = NetworkBatch(classifier, names, pool.table.rows.take(picks[label]), label)
            matches.append(synthetic.match(real.mean_gradient(), weight))
        return matches
