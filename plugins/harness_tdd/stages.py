"""From a task to distilled rows: initial rows, learning, nearest tokens, each measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from harness.budget import Budget
from harness.context import StageContext
from harness.kit.embedding import proxy_inputs, proxy_student
from harness.kit.trajectories.initial_rows import Beginning, initial_rows
from harness.kit.trajectories.inner_loop.inner_losses import LABELS
from harness.kit.trajectories.inner_loop.steps import Learned
from harness.kit.trajectories.proxies import ClassifierProxy, Trainable, matched_parameters
from harness.kit.trajectories.pseudo_prompts import PseudoPrompts
from harness.kit.trajectories.pseudo_rows import EMBEDDINGS
from harness.kit.trajectories.token_projection import NearestTokens, nearest_tokens
from harness.kit.trajectories.vector_arrays import vector_arrays
from harness.kit.trajectories.words import drift, neighbours, read_vocabulary, without_blanks
from harness.types import LABEL_COLUMN, DistilledData, TaskData
from harness_tdd.initial_parameters import Starts
from harness_tdd.measuring import Stage, stage_loss, start_loss
from harness_tdd.options import TddOptions
from harness_tdd.outer_step import CURVES, Learning, Learnt
from harness_tdd.parameters import top_third
from harness_tdd.real_rows import RealRows
from harness_tdd.tokens import TddTokens

if TYPE_CHECKING:
    from datasets import Dataset

Report = dict[str, float | int | str]


@dataclass(frozen=True)
class Way:
    """What was learned, and the pieces it was learned with.

    prompts: the real rows it began as; words: those with the nearest tokens; restored: how many
    would have been blank.
    """

    learning: Learning
    prompts: PseudoPrompts
    learnt: Learnt
    found: NearestTokens
    words: PseudoPrompts
    restored: int

    @property
    def proxy(self) -> ClassifierProxy:
        return self.learning.starts.proxy

    @property
    def vectors(self) -> Tensor:
        """[k, d] of the learned positions, row after row."""
        return self.learnt.vectors[self.learning.rows.pseudo.mask]

    @property
    def soft_labels(self) -> np.ndarray | None:
        """[m, classes], where labels are learned."""
        return self.learnt.soft_labels if self.learning.options.soft_labels else None

    @property
    def classes(self) -> np.ndarray:
        """[m] those that the labels give most to; of equal ones the row's own."""
        own = self.learning.labels.cpu().numpy()
        soft = self.soft_labels
        if soft is None:
            return own
        sure = soft[np.arange(len(own)), own] >= soft.max(1)
        return np.where(sure, own, soft.argmax(1))

    @cached_property
    def texts(self) -> Dataset:
        """The nearest tokens as rows of the task, with the rows' own classes."""
        return self.proxy.texts(self.words)

    @cached_property
    def read(self) -> Trainable:
        """The texts, tokenised again."""
        return self.proxy.read(self.texts)

    def vector_stages(self) -> dict[str, Stage]:
        """The rows from real text to learned vectors."""
        learning, start = self.learning, self.learning.start()
        real = {EMBEDDINGS: start.vectors}
        step_size = self.learnt.step_size
        return {
            "initial": Stage(learning.rows, real, start.step_size),
            "initial_at_learned_step": Stage(learning.rows, real, step_size),
            "vectors": Stage(learning.rows, learning.learned(self.learnt), step_size),
        }

    def token_stages(self, *, soft: bool) -> dict[str, Stage]:
        """The rows from nearest tokens to what a student reads."""
        rows = {"tokens": self.proxy.trainable(self.words), "as_text": self.read}
        return {
            name: Stage(found, self._unlearned(found, soft=soft), self.learnt.step_size)
            for name, found in rows.items()
        }

    def _unlearned(self, rows: Trainable, *, soft: bool) -> Learned:
        """The embeddings of the rows' own tokens, with their new labels."""
        classes = torch.from_numpy(self.classes).to(self.learning.labels.device)
        logits = self.learnt.label_logits
        sure = torch.full_like(logits, -torch.inf).scatter(1, classes[:, None], 0.0)
        return {EMBEDDINGS: rows.pseudo.initial(self.proxy.view), LABELS: logits if soft else sure}


def vector_rows(
    options: TddOptions, task: TaskData, budget: Budget, context: StageContext
) -> DistilledData:
    """What `Tdd.distill` promises."""
    way = learned_way(options, task, budget, context)
    vocabulary = way.learning.vocabulary
    report = {**learning_report(way), **losses(way.learning, way.vector_stages())}
    return DistilledData(
        rows=way.texts,
        soft_labels=way.soft_labels,
        report=report,
        arrays=vector_arrays(way.prompts, way.vectors, vocabulary.table),
    )


def token_rows(
    options: TddTokens, task: TaskData, budget: Budget, context: StageContext
) -> DistilledData:
    """What `TddTokens.distill` promises."""
    way = learned_way(options, task, budget, context)
    soft = options.labels == "soft" and options.soft_labels
    stages = {**way.vector_stages(), **way.token_stages(soft=soft)}
    report: Report = {
        **learning_report(way),
        **losses(way.learning, stages),
        "round_trip_drift": drift(way.words, way.read),
        "restored_rows": way.restored,
    }
    rows = relabelled(way.texts, way.classes)
    return DistilledData(rows=rows, soft_labels=way.soft_labels if soft else None, report=report)


def learned_way(options: TddOptions, task: TaskData, budget: Budget, context: StageContext) -> Way:
    """Vectors, labels and nearest tokens; learned once for all methods with these options."""
    learning, prompts = build_learning(options, task, budget, context)
    inputs = {
        "proxy": proxy_inputs(task, options.proxy, context),
        "device": context.device.partition(":")[0],
        "options": options.learning_inputs(),
        "budget": str(budget),
        "seed": context.seed,
    }
    stored = context.cache.arrays("tdd", inputs, lambda: learning.run().arrays())
    learnt = Learnt.of_arrays(stored, learning.starts.proxy.device)
    vocabulary = learning.vocabulary
    found = nearest_tokens(
        learnt.vectors[learning.rows.pseudo.mask],
        vocabulary.table,
        vocabulary.allowed,
        metric=options.metric,
    )
    proxy = learning.starts.proxy
    words, restored = without_blanks(proxy, prompts, found.ids.cpu().numpy())
    for name in CURVES:
        shown = {"loss": "real loss"}.get(name, name.replace("_", " "))
        context.keep_curve(shown, learnt.curves[name])
    return Way(learning, prompts, learnt, found, words, restored)


def build_learning(
    options: TddOptions, task: TaskData, budget: Budget, context: StageContext
) -> tuple[Learning, PseudoPrompts]:
    """Everything before the first step, and the rows it begins with."""
    student = proxy_student(options.proxy, context)
    classifier = student.build(task, context, max_length=options.max_length)
    layout = matched_parameters(classifier.model, options.parameters or top_third(classifier.model))
    proxy = ClassifierProxy(classifier, layout, task, context)
    vocabulary = read_vocabulary(proxy)
    prompts = initial_rows(proxy, vocabulary, Beginning("tdd", options.initial), budget, context)
    real = RealRows.of(
        proxy, prompts.sources, options.held_out, context.numpy_generator("tdd held out")
    )
    learning = Learning(
        starts=Starts(student, proxy, context, options.heads),
        real=real,
        rows=proxy.trainable(prompts),
        labels=torch.from_numpy(proxy.labels[prompts.sources]).to(proxy.device),
        vocabulary=vocabulary,
        options=options,
        context=context,
    )
    return learning, prompts


def learning_report(way: Way) -> Report:
    """What learning did, in numbers."""
    learning, learnt = way.learning, way.learnt
    own = learning.labels.cpu().numpy()
    report: Report = {
        **neighbours(way.found, way.prompts, learning.vocabulary),
        "changed_labels": float((way.classes != own).mean()),
        "step_size": float(learnt.step_size),
        "trained_parameters": way.proxy.layout.size,
        "outer_steps": len(learnt.curves["loss"]),
    }
    if way.soft_labels is not None:
        report["label_certainty"] = float(way.soft_labels.max(1).mean())
    if learnt.diverged >= 0:
        report["diverged_at_step"] = learnt.diverged
    return report


def losses(learning: Learning, stages: Mapping[str, Stage]) -> Report:
    """The held-out loss at the start and after training on the rows of each stage."""
    found = {name: stage_loss(learning, stage) for name, stage in stages.items()}
    named: Report = {
        f"held_out_loss_{name}": "diverged" if loss is None else loss
        for name, loss in found.items()
    }
    return {"held_out_loss_start": start_loss(learning), **named}


def relabelled(rows: Dataset, classes: np.ndarray) -> Dataset:
    """The same rows with other classes."""
    from datasets import Dataset

    columns = {**rows.to_dict(), LABEL_COLUMN: classes.tolist()}
    return Dataset.from_dict(columns, features=rows.features)
