"""A sequence classifier with its tokenizer: loads, encodes, predicts, embeds, saves."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from harness.context import StageContext
from harness.errors import ContractError, UsageError
from harness.kit.modes import evaluating, quiet_transformers
from harness.kit.text.forward import PaddedForward, forward_pass
from harness.kit.training.batching import EncodedRows, PaddingSide
from harness.protocols import Student
from harness.types import StudentInfo, TaskData

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

Pooling = Literal["cls", "mean", "head"]

_ROWS_AT_ONCE = 1024


class TextStudent(Student, Protocol):
    """A student whose fresh classifier other methods may use as a proxy or a learner."""

    def build(
        self, task: TaskData, context: StageContext, *, max_length: int = 128
    ) -> TextClassifier:
        """The pre-trained encoder with a new head drawn from the context's seed."""


@dataclass
class TextClassifier:
    """A model of the `AutoModelForSequenceClassification` family, ready for a task's columns.

    max_length: tokens kept of a row, special tokens included; never above the model's own limit.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    input_columns: tuple[str, ...]
    max_length: int
    info: StudentInfo
    device: torch.device

    def __post_init__(self) -> None:
        _ensure_pad_token(self.model, self.tokenizer)
        self.max_length = min(self.max_length, _length_limit(self.model, self.tokenizer))
        self.model.to(self.device).eval()

    @property
    def head(self) -> nn.Linear:
        """The last linear layer: hidden features [.., d] to logits [.., classes]."""
        linears = [m for m in self.model.modules() if isinstance(m, nn.Linear)]
        head = linears[-1]
        if head.out_features != self.model.config.num_labels:
            raise ContractError(
                plugin=f"student '{self.info.name}'",
                field="the last linear layer",
                expected=f"{self.model.config.num_labels} outputs, one a class",
                got=f"{head.out_features}",
            )
        return head

    @property
    def pad_id(self) -> int:
        return int(self.tokenizer.pad_token_id)

    @property
    def _has_segments(self) -> bool:
        known_to_model = "token_type_ids" in inspect.signature(self.model.forward).parameters
        return known_to_model and "token_type_ids" in self.tokenizer.model_input_names

    def encode(self, rows: Dataset, context: StageContext | None = None) -> EncodedRows:
        """Token ids of the rows' input columns, truncated to `max_length`, without padding."""
        if len(rows) == 0:
            raise UsageError("there are no rows to encode")
        starts: Any = range(0, len(rows), _ROWS_AT_ONCE)
        if context is not None and len(starts) > 1:
            starts = context.track(starts, "tokenising", total=len(starts))
        ids: list[np.ndarray] = []
        types: list[np.ndarray] = []
        for start in starts:
            part = rows[start : start + _ROWS_AT_ONCE]
            encoded = self.tokenizer(
                *(list(part[column]) for column in self.input_columns),
                truncation=True,
                max_length=self.max_length,
                return_attention_mask=False,
                return_token_type_ids=self._has_segments,
            )
            ids.extend(np.asarray(row, dtype=np.int32) for row in encoded["input_ids"])
            if self._has_segments:
                types.extend(np.asarray(row, np.int32) for row in encoded["token_type_ids"])
        side: PaddingSide = "left" if self.tokenizer.padding_side == "left" else "right"
        return EncodedRows(ids=tuple(ids), type_ids=tuple(types) or None, side=side)

    def predict(self, rows: Dataset, context: StageContext | None = None) -> np.ndarray:
        """Class probabilities, [n, classes] float32, in the order of `rows`; dropout is off."""
        return self.predict_encoded(self.encode(rows, context), context)

    def predict_encoded(
        self, encoded: EncodedRows, context: StageContext | None = None
    ) -> np.ndarray:
        """`predict` for rows that were tokenised before."""
        with forward_pass(self.model, encoded, self.pad_id, self.device) as forward:
            parts = forward.split(np.arange(len(encoded)))

            def probabilities(part: np.ndarray) -> Tensor:
                return forward.logits(part).float().softmax(-1)

            return self._map(parts, probabilities, "predicting", context)

    def embed(
        self, rows: Dataset, pooling: Pooling, context: StageContext | None = None
    ) -> np.ndarray:
        """One vector a row, [n, d] float32, in the order of `rows`; dropout is off.

        pooling: `cls` takes the last layer at the classification token (the first one, or the
        last in families that pad on the left), `mean` averages it over the row's tokens, `head`
        takes what enters the last linear layer.
        """
        pooled = {"cls": self._first, "mean": self._mean, "head": self._head_inputs}
        if pooling not in pooled:
            raise UsageError(f"unknown pooling '{pooling}'", hint="Known: cls, mean, head.")
        encoded = self.encode(rows, context)
        padded = PaddedForward(self.model, encoded, self.pad_id, self.device)

        def vectors(part: np.ndarray) -> Tensor:
            return pooled[pooling](encoded.pad(part, self.pad_id, self.device)).float()

        return self._map(padded.split(np.arange(len(encoded))), vectors, "embedding", context)

    def save(self, folder: Path) -> None:
        """Writes weights as safetensors, the configuration and the tokenizer.

        `max_length` travels as the tokenizer's `model_max_length`.
        """
        self.tokenizer.model_max_length = self.max_length
        with quiet_transformers():
            self.model.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)

    def _map(
        self,
        parts: Sequence[np.ndarray],
        compute: Callable[[np.ndarray], Tensor],
        description: str,
        context: StageContext | None,
    ) -> np.ndarray:
        """The rows of `compute(part)` for all parts, put where the parts' indices say."""
        shown = parts if context is None else context.track(parts, description, total=len(parts))
        with evaluating(self.model):
            values = np.concatenate([compute(part).cpu().numpy() for part in shown])
        return values[np.argsort(np.concatenate(parts))]

    def _first(self, inputs: dict[str, Tensor]) -> Tensor:
        hidden = self.model.base_model(**inputs).last_hidden_state
        return hidden[:, -1 if self.tokenizer.padding_side == "left" else 0]

    def _mean(self, inputs: dict[str, Tensor]) -> Tensor:
        hidden = self.model.base_model(**inputs).last_hidden_state.float()
        if "attention_mask" not in inputs:
            return hidden.mean(1)
        mask = inputs["attention_mask"].unsqueeze(-1).to(hidden.dtype)
        return (hidden * mask).sum(1) / mask.sum(1)

    def _head_inputs(self, inputs: dict[str, Tensor]) -> Tensor:
        seen: list[Tensor] = []
        hook = self.head.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
        try:
            self.model(**inputs)
        finally:
            hook.remove()
        if seen[0].dim() != 2:
            raise UsageError(
                f"student '{self.info.name}' applies its head to every token, so pooling 'head'"
                " is not defined for it",
                hint="Use pooling 'mean'.",
            )
        return seen[0]


def _ensure_pad_token(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id


def _length_limit(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> int:
    """Tokens that the tokenizer and the position embeddings allow."""
    limit = int(tokenizer.model_max_length)
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            reserved = 0 if module.padding_idx is None else module.padding_idx + 1
            limit = min(limit, module.num_embeddings - reserved)
    return limit
