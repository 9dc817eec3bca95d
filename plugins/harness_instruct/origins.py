"""What a fresh student starts from: a checkpoint, a GGUF file, or random weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from harness.kit.weights import PackageFile, Weights
from harness.types import TaskData

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from harness.context import StageContext

TINY_VOCABULARY = 2048


@dataclass(frozen=True)
class PretrainedCausalLM:
    """A pre-trained model as `save_pretrained` writes it."""

    weights: Weights
    pretrained: ClassVar[bool] = True

    def fingerprint(self) -> str:
        return self.weights.fingerprint()

    def create(
        self, task: TaskData, context: StageContext
    ) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
        from harness_instruct.students.pretrained import load_causal_lm

        del task, context
        return load_causal_lm(self.weights.folder())


@dataclass(frozen=True)
class GgufCheckpoint:
    """A pre-trained model in a GGUF file of an installed package, dequantised to float32."""

    file: PackageFile
    pretrained: ClassVar[bool] = True

    def fingerprint(self) -> str:
        return self.file.fingerprint()

    def create(
        self, task: TaskData, context: StageContext
    ) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
        from harness_instruct.students.gguf_llama import read_gguf_llama

        del task, context
        content = read_gguf_llama(self.file.path())
        return content.model(), content.fast_tokenizer()


@dataclass(frozen=True)
class TinyModel:
    """A small model drawn from the context's seed, with a vocabulary of the task's train texts."""

    family: Literal["llama", "opt", "gpt2"]
    vocabulary_size: int = TINY_VOCABULARY
    pretrained: ClassVar[bool] = False

    def fingerprint(self) -> str:
        return "random"

    def create(
        self, task: TaskData, context: StageContext
    ) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
        from harness_instruct.students.pretrained import random_causal_lm
        from harness_instruct.students.vocabulary import task_tokenizer

        starts = self.family != "gpt2"
        tokenizer = task_tokenizer(task, self.vocabulary_size, context, starts=starts)
        return random_causal_lm(self.family, tokenizer, context.seed_for("weights")), tokenizer
