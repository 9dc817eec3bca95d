"""The adapter from a model in memory to lm-eval's interface, with checks."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from lm_eval.models.huggingface import HFLM

from harness.errors import ContractError, UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

Document = tuple[str, int]
"""lm-eval's task name and number of a document."""
_Encoded = tuple[tuple[str, str], list[int], list[int]]


class CheckedModel(HFLM):
    """`HFLM` that refuses what cannot be scored and notes which prompts it cuts.

    The tokenizer is copied, because lm-eval gives it a pad token.

    cut: documents of which a prompt lost its first tokens.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerFast,
        *,
        batch_size: int,
        max_length: int,
        student: str,
        refuses_cuts: bool,
    ) -> None:
        """refuses_cuts: a prompt that would be cut is an error, before anything is computed.
        max_length: tokens of a prompt with its continuation, 0 for as many as the model takes.

        Raises:
            UsageError: more than the model has positions.
        """
        super().__init__(
            pretrained=model,
            tokenizer=copy.deepcopy(tokenizer),
            batch_size=batch_size,
            max_length=max_length or None,
            device=str(model.device),
        )
        positions = getattr(model.config, "max_position_embeddings", None)
        if positions is not None and self.max_length > positions:
            raise UsageError(
                f"max_length = {max_length} is more than the {positions} positions of student"
                f" '{student}'"
            )
        self.cut: set[Document] = set()
        self._student = student
        self._refuses_cuts = refuses_cuts
        self._documents: list[Document] = []

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[Any]:
        """Raises ContractError when a log-likelihood is not finite."""
        self._documents = [(request.task_name, request.doc_id) for request in requests]
        found = super().loglikelihood(requests, disable_tqdm=disable_tqdm)
        broken = ~np.isfinite([value for value, _ in found])
        if broken.any():
            raise ContractError(
                plugin=f"student '{self._student}'",
                field="the model's log-likelihoods",
                expected="finite numbers",
                got=f"NaN or infinity in {int(broken.sum())} of {len(found)} continuations",
            )
        return found

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """Greedy texts; prompts that leave no room for a text's tokens are noted as cut."""
        for request in requests:
            context, options = request.args
            room = self.max_length - int(options.get("max_gen_toks", self.max_gen_toks))
            if room < 1:
                raise UsageError(
                    f"lm-eval task '{request.task_name}' generates {self.max_length - room} tokens,"
                    f" and student '{self._student}' has room for {self.max_length} in all"
                )
            if len(self.tok_encode(context)) > room:
                self._note_cut((request.task_name, request.doc_id))
        return super().generate_until(requests, disable_tqdm=disable_tqdm)

    def _loglikelihood_tokens(
        self, requests: Sequence[_Encoded], disable_tqdm: bool = False, **options: Any
    ) -> list[Any]:
        """Refuses continuations without tokens or longer than a row before anything is computed."""
        for document, (texts, context, continuation) in zip(self._documents, requests, strict=True):
            if not continuation or len(continuation) > self.max_length:
                raise UsageError(
                    f"document {document[1]} of '{document[0]}': the continuation {texts[1]!r} has"
                    f" {len(continuation)} tokens, it should have 1 to {self.max_length}",
                    hint="Raise the evaluator's max_length, or leave the document out.",
                )
            if len(context) + len(continuation) > self.max_length + 1:
                self._note_cut(document)
        return super()._loglikelihood_tokens(requests, disable_tqdm=disable_tqdm, **options)

    def _note_cut(self, document: Document) -> None:
        if self._refuses_cuts:
            raise UsageError(
                f"document {document[1]} of '{document[0]}': the prompt is longer than the"
                f" {self.max_length} tokens of student '{self._student}'",
                hint="long_prompts=cut lets such prompts lose their first tokens.",
            )
        self.cut.add(document)
