"""The base of causal language models as students: building, fitting, reading back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from harness.errors import UsageError
from harness.kit.language.lora import LoraOptions
from harness.kit.origins import OriginStudent
from harness.options import Count, ShareBelowOne
from harness.types import DistilledData, Recipe, TaskData

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from harness.context import StageContext
    from harness.kit.language.causal_lm import CausalLM
    from harness.kit.language.labelled_rows import LabelledRows


@dataclass(frozen=True)
class CausalStudent(OriginStudent):
    """What all families share: building, fitting, reading back.

    tuning: `lora` trains adapters (Hu et al. 2022) and merges them into the weights, `full` trains
    all weights; `auto` takes lora for pre-trained weights and full for a model from scratch.
    lora_rank, lora_alpha, lora_dropout: of the adapters; lora_targets: ends of the names of the
    layers they go to, attention's projections when empty.
    chat: write prompts and completions through the tokenizer's chat template.
    """

    tuning: Literal["auto", "lora", "full"] = "auto"
    lora_rank: Count = 8
    lora_alpha: Count = 16
    lora_dropout: ShareBelowOne = 0.0
    lora_targets: tuple[str, ...] = ()
    chat: bool = False

    modalities: ClassVar[tuple[str, ...]] = ("instruction",)
    offers: ClassVar[tuple[str, ...]] = (
        "loglikelihood", "generate", "model", "tokenizer", "encode", "encoder",
    )  # fmt: skip

    @property
    def lora(self) -> LoraOptions:
        """The options of the adapters."""
        return LoraOptions(self.lora_rank, self.lora_alpha, self.lora_dropout, self.lora_targets)

    @property
    def adapts(self) -> bool:
        """Whether adapters are trained rather than all weights."""
        return self.tuning == "lora" or (self.tuning == "auto" and self.origin.pretrained)

    def build(self, task: TaskData, context: StageContext) -> CausalLM:
        """An untrained model; what is new in it is drawn from the context's seed.

        Raises:
            UsageError: the task is none of instructions, and a vocabulary of its own is needed.
        """
        if task.modality != "instruction" and not self.origin.pretrained:
            raise UsageError(
                f"student '{self.family}:{self.shown_variant}' learns its vocabulary from"
                f" instructions, and '{task.name}' is of {task.modality}",
                hint="Take a pre-trained model, such as smollm2:135m.",
            )
        return self._causal_lm(*self.origin.create(task, context), context)

    def fit(
        self, task: TaskData, data: DistilledData, recipe: Recipe, context: StageContext
    ) -> CausalLM:
        """A fresh model trained on the completions of the distilled rows, with their weights.

        Prompts longer than the recipe's `max_length` lose their first tokens.

        Raises:
            UsageError: a completion alone is longer than that.
        """
        lm = self.build(task, context)
        encoded = lm.encode(data.rows, recipe.max_length, context)
        return self.fit_encoded(lm, encoded, task, data, recipe, context)

    def fit_encoded(
        self,
        lm: CausalLM,
        encoded: LabelledRows,
        task: TaskData,
        data: DistilledData,
        recipe: Recipe,
        context: StageContext,
    ) -> CausalLM:
        """The rest of `fit`, for a built model and the tokens of the distilled rows."""
        from harness.kit.language.lora import add_lora, merge_lora
        from harness.kit.language.training import train_causal_lm

        weights = np.ones(len(data.rows)) if data.weights is None else data.weights
        validation = _validation(lm, task, recipe) if recipe.checkpoint == "validation" else None
        if self.adapts:
            lm.model = add_lora(lm.model, self.lora, context.seed_for("lora"))
        train_causal_lm(lm, encoded, weights, recipe, context, validation=validation)
        if self.adapts:
            lm.model = merge_lora(lm.model)
        return lm

    def load(self, folder: Path, task: TaskData, context: StageContext) -> CausalLM:
        """Reads what `CausalLM.save` wrote."""
        from harness_instruct.students.pretrained import load_causal_lm

        del task
        return self._causal_lm(*load_causal_lm(folder), context)

    def _causal_lm(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, context: StageContext
    ) -> CausalLM:
        import torch

        from harness.kit.language.causal_lm import CausalLM

        info = self.info(model)
        return CausalLM(model, tokenizer, info, torch.device(context.device), self.chat)


def _validation(lm: CausalLM, task: TaskData, recipe: Recipe) -> Callable[[], float]:
    """Minus the mean loss of validation's completions, tokenised once."""
    from harness.kit.language.training import mean_completion_loss

    encoded = lm.encode(task.validation, recipe.max_length)
    return lambda: -mean_completion_loss(lm, encoded)
