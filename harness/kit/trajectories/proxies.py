"""Student models of experts and inner loops: a language model or a classifier, alike."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from harness.context import StageContext
from harness.errors import UsageError
from harness.kit.language.causal_lm import CausalLM
from harness.kit.language.labelled_rows import LabelledRows
from harness.kit.text.classifier import TextClassifier
from harness.kit.training.batching import EncodedRows
from harness.kit.training.parameter_layout import ParameterLayout
from harness.kit.trajectories.experts import (
    ExpertModel,
    classification_expert,
    completion_expert,
    train_only,
)
from harness.kit.trajectories.inner_loop.flat_module import FlatModule
from harness.kit.trajectories.inner_loop.inner_losses import ClassLoss, ResponseLoss
from harness.kit.trajectories.inner_loop.steps import InnerLoss, LearnedTensors
from harness.kit.trajectories.pseudo_prompts import PseudoPrompts
from harness.kit.trajectories.pseudo_rows import PseudoRows
from harness.types import LABEL_COLUMN, PROMPT_COLUMN, TaskData

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class LearnableRows:
    """Some rows as a function of what is learned in them."""

    loss: InnerLoss
    pseudo: PseudoRows


@dataclass(frozen=True)
class SyntheticData:
    """Rows, the values of what is learned in them, and the step size of inner loops on them."""

    rows: LearnableRows
    learned: LearnedTensors
    step_size: Tensor


class Proxy(ABC):
    """A fresh model, its matched parameters, and the pool in its tokens."""

    model: nn.Module
    tokenizer: PreTrainedTokenizerFast
    layout: ParameterLayout
    task: TaskData
    pool: LabelledRows | EncodedRows

    @cached_property
    def view(self) -> FlatModule:
        return FlatModule(self.model, self.layout)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @abstractmethod
    def expert_model(self) -> AbstractContextManager[ExpertModel]:
        """What experts train, valid inside the block."""

    @abstractmethod
    def trainable(self, prompts: PseudoPrompts) -> LearnableRows:
        """Rows with the labels or responses of the pool's."""

    @abstractmethod
    def texts(self, prompts: PseudoPrompts) -> Dataset:
        """The rows as text, with their labels or real responses, in the task's columns."""

    @abstractmethod
    def read(self, texts: Dataset) -> LearnableRows:
        """Text in tokens again, as a student with this tokenizer reads it."""


@dataclass
class LanguageProxy(Proxy):
    """A causal language model: prompts are learned, responses are real."""

    lm: CausalLM
    layout: ParameterLayout
    task: TaskData
    max_length: int
    context: StageContext

    def __post_init__(self) -> None:
        self.model, self.tokenizer = self.lm.model, self.lm.tokenizer
        self.encoded = self.lm.encode(self.task.train, self.max_length, self.context)
        self.pool = self.encoded

    @contextmanager
    def expert_model(self) -> Iterator[ExpertModel]:
        yield completion_expert(self.lm, self.layout, self.encoded)

    def trainable(self, prompts: PseudoPrompts) -> LearnableRows:
        pseudo = PseudoRows(prompts.rows, prompts.learned, self.lm.pad_id, self.lm.device)
        return LearnableRows(ResponseLoss(self.view, prompts.encoded, pseudo), pseudo)

    def texts(self, prompts: PseudoPrompts) -> Dataset:
        real = self.task.train.select_columns(list(self.task.row_columns))[prompts.sources]
        written = prompts.prompt_texts(self.tokenizer)
        # What separates a prompt from its completion belongs to the task, not to the prompt.
        pairs = zip(written, real[PROMPT_COLUMN], strict=True)
        texts = [text.rstrip() + prompt[len(prompt.rstrip()) :] for text, prompt in pairs]
        return _rows(self.task, {**real, PROMPT_COLUMN: texts})

    def read(self, texts: Dataset) -> LearnableRows:
        encoded = self.lm.encode(texts, self.max_length)
        pseudo = PseudoRows(encoded.rows, _whole(encoded.rows), self.lm.pad_id, self.lm.device)
        return LearnableRows(ResponseLoss(self.view, encoded, pseudo), pseudo)


@dataclass
class ClassifierProxy(Proxy):
    """A sequence classifier: whole texts are learned, classes are real."""

    classifier: TextClassifier
    layout: ParameterLayout
    task: TaskData
    context: StageContext

    def __post_init__(self) -> None:
        self.model, self.tokenizer = self.classifier.model, self.classifier.tokenizer
        self.encoded = self.classifier.encode(self.task.train, self.context)
        self.pool = self.encoded
        self.labels = np.asarray(self.task.train[LABEL_COLUMN][:], dtype=np.int64)

    @contextmanager
    def expert_model(self) -> Iterator[ExpertModel]:
        targets = np.eye(len(self.task.label_names), dtype=np.float32)[self.labels]
        parts = (self.classifier, self.layout, self.encoded, targets)
        with classification_expert(*parts) as expert_model:
            yield expert_model

    def trainable(self, prompts: PseudoPrompts) -> LearnableRows:
        return self._trainable(prompts.rows, prompts.learned, self.labels[prompts.sources])

    def texts(self, prompts: PseudoPrompts) -> Dataset:
        special = self.tokenizer.all_special_ids
        fields = [
            [
                self.tokenizer.decode(ids[start:stop].tolist(), clean_up_tokenization_spaces=False)
                for start, stop in runs(~np.isin(ids, special))
            ]
            for ids in prompts.rows.ids
        ]
        names = self.task.input_columns
        for source, parts in zip(prompts.sources, fields, strict=True):
            if len(parts) != len(names):
                raise UsageError(
                    f"row {source} of train has {len(parts)} texts between its special tokens, and"
                    f" the task has the columns {', '.join(names)}",
                    hint="Leave rows with an empty text out.",
                )
        columns = {name: [parts[n] for parts in fields] for n, name in enumerate(names)}
        labels = self.labels[prompts.sources].tolist()
        return _rows(self.task, {**columns, LABEL_COLUMN: labels})

    def read(self, texts: Dataset) -> LearnableRows:
        encoded = self.classifier.encode(texts)
        labels = np.asarray(texts[LABEL_COLUMN][:], dtype=np.int64)
        return self._trainable(encoded, _whole(encoded), labels)

    def _trainable(
        self, rows: EncodedRows, learned: tuple[np.ndarray, ...], labels: np.ndarray
    ) -> LearnableRows:
        device = self.classifier.device
        pseudo = PseudoRows(rows, learned, self.classifier.pad_id, device)
        classes = torch.from_numpy(labels).to(device)
        return LearnableRows(ClassLoss(self.view, pseudo, classes), pseudo)


def runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """Where the true values of a mask stand together: starts and ends."""
    found, start = [], 0
    for value, part in groupby(mask.tolist()):
        stop = start + len(list(part))
        if value:
            found.append((start, stop))
        start = stop
    return found


def matched_parameters(model: nn.Module, pattern: str) -> ParameterLayout:
    """The layout of what matches, without the input embeddings."""
    train_only(model, pattern)
    table: nn.Parameter = model.get_input_embeddings().weight
    table.requires_grad_(False)
    return ParameterLayout.of(model)


def _whole(rows: EncodedRows) -> tuple[np.ndarray, ...]:
    """Masks of every token, for rows that are only measured: a prompt may have none left."""
    return tuple(np.ones(len(ids), dtype=bool) for ids in rows.ids)


def _rows(task: TaskData, columns: dict[str, list]) -> Dataset:
    """Distilled rows with the types of train's columns."""
    from datasets import Dataset, Features

    names = list(task.row_columns)
    features = Features({name: task.train.features[name] for name in names})
    return Dataset.from_dict({name: columns[name] for name in names}, features=features)
