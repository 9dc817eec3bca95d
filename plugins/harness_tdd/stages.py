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
from harness.kit.trajectories.initial_rows import Initialisation, initial_rows
from harness.kit.trajectories.inner_loop.inner_losses import LABELS
from harness.kit.trajectories.outer_loop import OuterLoop, OuterState
from harness.kit.trajectories.proxies import (
    ClassifierProxy,
    LearnableRows,
    SyntheticData,
    matched_parameters,
)
from harness.kit.trajectories.pseudo_prompts import PseudoPrompts
from harness.kit.trajectories.pseudo_rows import EMBEDDINGS
from harness.kit.trajectories.token_projection import NearestTokens, nearest_tokens
from harness.kit.trajectories.vector_arrays import vector_arrays
from harness.kit.trajectories.words import drift, neighbours, read_vocabulary, without_blanks
from harness.types import LABEL_COLUMN, DistilledData, TaskData
from harness_tdd.initial_parameters import InitialParameters
from harness_tdd.measuring import held_out_loss, start_loss
from harness_tdd.options import TddOptions
from harness_tdd.outer_step import LOG_STEP_SIZE, VECTORS, PerformanceMatching
from harness_tdd.parameters import top_third
from harness_tdd.real_rows import RealRows

if TYPE_CHECKING:
    from datasets import Dataset

Report = dict[str, float | int | str]


@dataclass(frozen=True)
class TddResult:
    """Where the outer loop ended, and what it learned with.

    prompts: the real rows it began as; nearest: the tokens nearest to the learned embeddings;
    projected: the rows with these tokens; restored: how many would have been blank.
    """

    matching: PerformanceMatching
    prompts: PseudoPrompts
    state: OuterState
    nearest: NearestTokens
    projected: PseudoPrompts
    restored: int

    @property
    def proxy(self) -> ClassifierProxy:
        return self.matching.initial.proxy

    @property
    def step_size(self) -> Tensor:
        return self.state.learned[LOG_STEP_SIZE].exp()

    @property
    def vectors(self) -> Tensor:
        """[k, d] of the learned positions, row after row."""
        return self.state.learned[VECTORS][self.matching.rows.pseudo.mask]

    @property
    def soft_labels(self) -> np.ndarray | None:
        """[m, classes] float64 probabilities, where labels are learned."""
        if not self.matching.options.soft_labels:
            return None
        return self.state.learned[LABELS].double().softmax(-1).cpu().numpy()

    @property
    def classes(self) -> np.ndarray:
        """[m] those that the labels give most to; of equal ones the row's own."""
        own = self.matching.labels.cpu().numpy()
        soft = self.soft_labels
        if soft is None:
            return own
        sure = soft[np.arange(len(own)), own] >= soft.max(1)
        return np.where(sure, own, soft.argmax(1))

    @cached_property
    def texts(self) -> Dataset:
        """The nearest tokens as rows of the task, with the rows' own classes."""
        return self.proxy.texts(self.projected)

    @cached_property
    def read(self) -> LearnableRows:
        """The texts, tokenised again."""
        return self.proxy.read(self.texts)

    def before_projection(self) -> dict[str, SyntheticData]:
        """The rows from real text to learned embeddings."""
        start, rows = self.matching.start(), self.matching.rows
        real = {EMBEDDINGS: start.learned[VECTORS]}
        return {
            "initial": SyntheticData(rows, real, start.learned[LOG_STEP_SIZE].exp()),
            "initial_at_learned_step": SyntheticData(rows, real, self.step_size),
            "vectors": self.matching.synthetic_data(self.state),
        }

    def after_projection(self, *, soft: bool) -> dict[str, SyntheticData]:
        """The rows from nearest tokens to what a student reads. soft: with the learned labels."""
        rows = {"tokens": self.proxy.trainable(self.projected), "as_text": self.read}
        classes = torch.from_numpy(self.classes).to(self.matching.labels.device)
        logits = self.state.learned[LABELS]
        sure = torch.full_like(logits, -torch.inf).scatter(1, classes[:, None], 0.0)
        labels = logits if soft else sure
        return {
            name: SyntheticData(
                found,
                {EMBEDDINGS: found.pseudo.initial(self.proxy.view), LABELS: labels},
                self.step_size,
            )
            for name, found in rows.items()
        }


def vector_rows(
    options: TddOptions, task: TaskData, budget: Budget, context: StageContext
) -> DistilledData:
    """What `Tdd.distill` promises."""
    result = learn_embeddings(options, task, budget, context)
    matching = result.matching
    report = {**learning_report(result), **losses(matching, result.before_projection())}
    return DistilledData(
        rows=result.texts,
        soft_labels=result.soft_labels,
        report=report,
        arrays=vector_arrays(result.prompts, result.vectors, matching.vocabulary.table),
    )


def token_rows(
    options: TddOptions, task: TaskData, budget: Budget, context: StageContext, *, soft: bool
) -> DistilledData:
    """What `TddTokens.distill` promises. soft: with the learned labels, where there are any."""
    result = learn_embeddings(options, task, budget, context)
    soft = soft and options.soft_labels
    data = {**result.before_projection(), **result.after_projection(soft=soft)}
    report: Report = {
        **learning_report(result),
        **losses(result.matching, data),
        "round_trip_drift": drift(result.projected, result.read),
        "restored_rows": result.restored,
    }
    rows = relabelled(result.texts, result.classes)
    return DistilledData(rows=rows, soft_labels=result.soft_labels if soft else None, report=report)


def learn_embeddings(
    options: TddOptions, task: TaskData, budget: Budget, context: StageContext
) -> TddResult:
    """The outer loop and nearest tokens; done once for all methods with these options."""
    matching, prompts = build_matching(options, task, budget, context)
    inputs = {
        "proxy": proxy_inputs(task, options.proxy, context),
        "device": context.device.partition(":")[0],
        "options": options.learning_inputs(),
        "budget": str(budget),
        "seed": context.seed,
    }
    loop = OuterLoop("tdd", matching.start(), matching.step, options.outer_steps, context)
    state = loop.shared("tdd", inputs)
    proxy, vocabulary = matching.initial.proxy, matching.vocabulary
    nearest = nearest_tokens(
        state.learned[VECTORS][matching.rows.pseudo.mask],
        vocabulary.table,
        vocabulary.allowed,
        metric=options.metric,
    )
    projected, restored = without_blanks(proxy, prompts, nearest.ids.cpu().numpy())
    for name, values in state.curves.items():
        shown = {"loss": "real loss"}.get(name, name.replace("_", " "))
        context.keep_curve(shown, values)
    return TddResult(matching, prompts, state, nearest, projected, restored)


def build_matching(
    options: TddOptions, task: TaskData, budget: Budget, context: StageContext
) -> tuple[PerformanceMatching, PseudoPrompts]:
    """Everything before the first outer step, and the rows it begins with."""
    student = proxy_student(options.proxy, context)
    classifier = student.build(task, context, max_length=options.max_length)
    layout = matched_parameters(classifier.model, options.parameters or top_third(classifier.model))
    proxy = ClassifierProxy(classifier, layout, task, context)
    vocabulary = read_vocabulary(proxy)
    prompts = initial_rows(
        proxy, vocabulary, Initialisation("tdd", options.initial), budget, context
    )
    real = RealRows.of(
        proxy, prompts.sources, options.held_out, context.numpy_generator("tdd held out")
    )
    matching = PerformanceMatching(
        initial=InitialParameters(student, proxy, context, options.heads),
        real=real,
        rows=proxy.trainable(prompts),
        labels=torch.from_numpy(proxy.labels[prompts.sources]).to(proxy.device),
        vocabulary=vocabulary,
        options=options,
        context=context,
    )
    return matching, prompts


def learning_report(result: TddResult) -> Report:
    """What learning did, in numbers."""
    matching, state, soft = result.matching, result.state, result.soft_labels
    own = matching.labels.cpu().numpy()
    report: Report = {
        **neighbours(result.nearest, result.prompts, matching.vocabulary),
        "changed_labels": float((result.classes != own).mean()),
        "step_size": float(result.step_size),
        "trained_parameters": result.proxy.layout.size,
        "outer_steps": state.steps,
    }
    if soft is not None:
        report["label_certainty"] = float(soft.max(1).mean())
    if state.diverged >= 0:
        report["diverged_at_step"] = state.diverged
    return report


def losses(matching: PerformanceMatching, data: Mapping[str, SyntheticData]) -> Report:
    """The held-out loss at the start and after training on each synthetic data."""
    found = {name: held_out_loss(matching, each) for name, each in data.items()}
    named: Report = {
        f"held_out_loss_{name}": "diverged" if loss is None else loss
        for name, loss in found.items()
    }
    return {"held_out_loss_start": start_loss(matching), **named}


def relabelled(rows: Dataset, classes: np.ndarray) -> Dataset:
    """The same rows with other classes."""
    from datasets import Dataset

    columns = {**rows.to_dict(), LABEL_COLUMN: classes.tolist()}
    return Dataset.from_dict(columns, features=rows.features)
