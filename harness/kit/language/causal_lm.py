"""A causal language model with its tokenizer: scores continuations, generates, saves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from harness.context import StageContext
from harness.data.texts import pairs_of
from harness.errors import UsageError
from harness.kit.language.encoding import InstructionEncoder, Pairs
from harness.kit.language.forward import BranchingForward, CausalForward
from harness.kit.language.labelled_rows import IGNORED, LabelledRows
from harness.kit.language.readings import can_branch, plan_readings
from harness.kit.modes import evaluating, quiet_transformers
from harness.kit.training.batching import EncodedRows, length_groups, token_limit
from harness.types import LogLikelihoods, StudentInfo

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


@dataclass(frozen=True)
class LabelledTokens:
    """The labelled tokens of some rows, one after the other.

    rows: [k] which row; positions: [k] of the token before, which predicts it; targets: [k].
    """

    rows: np.ndarray
    positions: np.ndarray
    targets: np.ndarray

    @classmethod
    def of(cls, labelled: LabelledRows, members: np.ndarray) -> LabelledTokens:
        """Of the rows `members`; `rows` are places among them."""
        found = [np.flatnonzero(labelled.labels[member][1:] != IGNORED) for member in members]
        counts = [len(positions) for positions in found]
        targets = [
            labelled.labels[member][positions + 1]
            for member, positions in zip(members, found, strict=True)
        ]
        return cls(
            np.repeat(np.arange(len(members)), counts),
            np.concatenate(found),
            np.concatenate(targets).astype(np.int64),
        )


@dataclass
class CausalLM:
    """A model of the `AutoModelForCausalLM` family, ready for prompts.

    chat: whether prompts go through the tokenizer's chat template.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    info: StudentInfo
    device: torch.device
    chat: bool = False

    def __post_init__(self) -> None:
        self.model.to(self.device).eval()

    @property
    def max_length(self) -> int:
        """Tokens that the model's positions and the tokenizer allow."""
        limit = getattr(self.model.config, "max_position_embeddings", None)
        own = int(self.tokenizer.model_max_length)
        return own if limit is None else min(own, int(limit))

    @property
    def pad_id(self) -> int:
        """What fills short rows; no real token sees it, so it may be any."""
        for token in (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id):
            if token is not None:
                return int(token)
        return 0

    def encoder(self, max_length: int = 0) -> InstructionEncoder:
        """For rows of at most `max_length` tokens, 0 for as many as the model allows."""
        limit = min(max_length, self.max_length) if max_length else self.max_length
        return InstructionEncoder(self.tokenizer, limit, self.chat)

    def encode(
        self, rows: Dataset, max_length: int = 0, context: StageContext | None = None
    ) -> LabelledRows:
        """A task's prompts and completions as rows to learn from, end tokens included."""
        return self.encoder(max_length).encode(pairs_of(rows), end=True, context=context)

    def loglikelihood(self, pairs: Pairs, context: StageContext | None = None) -> LogLikelihoods:
        """The log-likelihoods of (prompt, continuation) pairs, in their order; dropout is off.

        Prompts too long for the model lose their first tokens. A prompt that several pairs share,
        such as a question with its choices, is read once where the family allows it.

        Raises:
            UsageError: a continuation without a token, or too long for the model.
        """
        encoded = self.encoder().encode(pairs, end=False, context=context)
        readings = plan_readings(encoded, branching=can_branch(self.model))
        known = (self.model, readings.rows, self.pad_id, self.device)
        forward = BranchingForward(*known, readings) if readings.branched else CausalForward(*known)
        members = readings.requests()
        sums = np.zeros(len(pairs))
        greedy = np.zeros(len(pairs), dtype=bool)
        counts = np.zeros(len(pairs), dtype=np.int64)
        parts = forward.split(np.arange(len(readings.rows)))
        shown = parts if context is None else context.track(parts, "scoring", total=len(parts))
        with evaluating(self.model):
            for part in shown:
                asked = np.concatenate([members[row] for row in part])
                line = np.repeat(np.arange(len(part)), [len(members[row]) for row in part])
                counts[asked] = [len(readings.places[request]) for request in asked]
                request = np.repeat(np.arange(len(asked)), counts[asked])
                places = np.concatenate([readings.places[r] for r in asked])
                targets = np.concatenate([readings.targets[r] for r in asked])
                values, best = _token_scores(forward.logits(part, line[request], places), targets)
                sums[asked] = np.bincount(request, values, len(asked))
                greedy[asked] = np.bincount(request, ~best, len(asked)) == 0
        return LogLikelihoods(sums, greedy, counts)

    def generate(
        self,
        prompts: Sequence[str],
        max_new_tokens: int = 32,
        context: StageContext | None = None,
    ) -> list[str]:
        """The most probable continuation of each prompt, token by token, up to the end token.

        Raises:
            UsageError: more new tokens than the model has positions.
        """
        if not 0 < max_new_tokens < self.max_length:
            raise UsageError(f"max_new_tokens should be in [1, {self.max_length})")
        ids = self.encoder().prompts(prompts, room=max_new_tokens)
        rows = EncodedRows(tuple(np.array(row, dtype=np.int32) for row in ids), side="left")
        groups = length_groups(
            rows.lengths, len(rows), overhead=0, max_tokens=token_limit(self.device)
        )
        shown = groups if context is None else context.track(groups, "generating", len(groups))
        texts = [""] * len(prompts)
        with evaluating(self.model), quiet_transformers():
            for group in shown:
                inputs = rows.pad(group, self.pad_id, self.device)
                inputs.setdefault("attention_mask", torch.ones_like(inputs["input_ids"]))
                made = self.model.generate(
                    **inputs,
                    max_new_tokens=max_new_tokens,
                    do_sample=False,
                    pad_token_id=self.pad_id,
                    eos_token_id=self.tokenizer.eos_token_id,
                )
                new = made[:, inputs["input_ids"].shape[1] :].cpu()
                for row, tokens in zip(group, new, strict=True):
                    texts[row] = self.tokenizer.decode(tokens, skip_special_tokens=True)
        return texts

    def save(self, folder: Path) -> None:
        """Writes weights as safetensors, the configuration and the tokenizer."""
        with quiet_transformers():
            self.model.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)


def _token_scores(logits: Tensor, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[k] log-probabilities of the targets, float64, and whether each is the most probable."""
    wanted = torch.from_numpy(targets).to(logits.device)
    logits = logits.float()
    values = logits.gather(1, wanted[:, None])[:, 0] - logits.logsumexp(1)
    best = logits.argmax(1) == wanted
    return values.double().cpu().numpy(), best.cpu().numpy()
