"""The generator: a causal language model with a start token for each class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from harness.context import StageContext
from harness.errors import MissingDependencyError, UsageError
from harness.kit.language.student import build_proxy_lm
from harness.kit.text.byte_bpe import learn_bpe
from harness.randomness import seeded
from harness.types import TaskData
from harness_dilm.generator.names import TINY, locate, names_student
from harness_dilm.generator.text_format import TextFormat
from harness_dilm.options import LanguageModelOptions

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

_END = "<|endoftext|>"
TINY_POSITIONS = 1024
TINY_CLASS_STD = 0.3
"""Of the class tokens of a generator from scratch: far enough apart to be told from each other.

Copies of one random row tell an untrained model nothing, and it learns to write for one class
only after many epochs. On 6,568 film-review sentences, one layer of width 128, the mean loss of
validation rows behind the other class's token exceeded that behind their own by 0.03 nats after
400 steps with copied rows, and by 1.16 nats with these.
"""


@dataclass(frozen=True)
class Generator:
    """A causal language model that knows how rows are written.

    max_length: tokens of a row, class token included.
    sampleable: [vocabulary] bool on the model's device: tokens of texts, and the end token.
    """

    model: PreTrainedModel
    format: TextFormat
    max_length: int
    device: torch.device
    dtype: torch.dtype
    sampleable: Tensor

    def autocast(self) -> AbstractContextManager[Any]:
        """Forward passes in `dtype`; a no-op for the dtype of the weights."""
        if self.dtype == self.model.dtype:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    @contextmanager
    def mode(self, *, dropout: bool) -> Iterator[None]:
        """Dropout on or off inside the block."""
        before = self.model.training
        self.model.train(dropout)
        try:
            yield
        finally:
            self.model.train(before)

    def parameters(self) -> dict[str, np.ndarray]:
        """A copy of the weights; tied ones once."""
        return {n: p.detach().cpu().numpy().copy() for n, p in self.model.named_parameters()}

    @torch.no_grad()
    def load_parameters(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Takes over weights that `parameters` gave."""
        for name, parameter in self.model.named_parameters():
            parameter.copy_(torch.from_numpy(np.array(arrays[name])))


def build_generator(
    options: LanguageModelOptions, task: TaskData, context: StageContext
) -> Generator:
    """The generator before any training.

    A pretrained one starts with each class token equal to its start token, as published; one
    from scratch starts with class tokens that are random and apart.

    Raises:
        UsageError: a student that is no causal language model, or a `max_length` above the
            model's limit.
        MissingDependencyError: the weights are neither here nor to be downloaded.
    """
    with seeded(context.seed_for("generator")):
        if options.generator == TINY:
            model, tokenizer = _from_scratch(options, task)
        elif names_student(options.generator):
            model, tokenizer = _of_student(options.generator, task, context)
        else:
            model, tokenizer = _pretrained(options.generator)
        if tokenizer.eos_token_id is None:
            raise UsageError(f"generator '{options.generator}' has no end-of-text token")
        text_format = _add_structure(model, tokenizer, task, named=options.class_start == "name")
        if options.generator == TINY:
            _separate_classes(model, text_format)
    limit = _positions(model)
    if options.max_length > limit:
        raise UsageError(
            f"max_length = {options.max_length} is more than the {limit} positions of generator"
            f" '{options.generator}'"
        )
    device = torch.device(context.device)
    model.to(device).eval()
    return Generator(
        model=model,
        format=text_format,
        max_length=options.max_length or limit,
        device=device,
        dtype=getattr(torch, options.dtype),
        sampleable=_sampleable(model, text_format).to(device),
    )


def _from_scratch(
    options: LanguageModelOptions, task: TaskData
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    texts = (text for column in task.input_columns for text in task.train[column])
    vocabulary = learn_bpe(texts, options.tiny_vocabulary, [_END])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=vocabulary, bos_token=_END, eos_token=_END)
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=options.max_length or TINY_POSITIONS,
        n_embd=options.tiny_width,
        n_layer=options.tiny_layers,
        n_head=options.tiny_heads,
        activation_function="gelu_pytorch_tanh",
        resid_pdrop=options.tiny_dropout,
        embd_pdrop=options.tiny_dropout,
        attn_pdrop=options.tiny_dropout,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return GPT2LMHeadModel(config), tokenizer


def _pretrained(generator: str) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, hub_id, revision = locate(generator)
    source = str(folder) if folder else hub_id
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, revision=revision)
        model = AutoModelForCausalLM.from_pretrained(
            source, revision=revision, use_safetensors=True, dtype=torch.float32
        )
    except OSError as error:
        raise MissingDependencyError(
            f"generator '{generator}' can be neither found here nor downloaded",
            hint="Go online once, give a local folder with safetensors weights"
            " (--set distiller.dilm.generator=FOLDER), or train one from scratch"
            f" (--set distiller.dilm.generator={TINY}).",
        ) from error
    return model, tokenizer


def _of_student(
    spec: str, task: TaskData, context: StageContext
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    lm = build_proxy_lm(spec, task, context)
    return lm.model, lm.tokenizer


def _add_structure(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    task: TaskData,
    *,
    named: bool,
) -> TextFormat:
    """Embedding rows for `<bos_c>`, `<sep>` and `<pad>`.

    Each `<bos_c>` starts as the start token's row, or `named`, as the mean of its class's name.
    """
    classes = len(task.label_names)
    end = int(tokenizer.eos_token_id)
    start = end if tokenizer.bos_token_id is None else int(tokenizer.bos_token_id)
    first = max(len(tokenizer), model.get_input_embeddings().num_embeddings)
    model.resize_token_embeddings(first + classes + 2, mean_resizing=False)
    class_ids = tuple(range(first, first + classes))
    for embedding in (model.get_input_embeddings(), model.get_output_embeddings()):
        with torch.no_grad():
            like = _name_tokens(tokenizer, task) if named else [[start]] * classes
            rows = torch.stack([embedding.weight[ids].mean(0) for ids in like])
            embedding.weight[list(class_ids)] = rows
    return TextFormat(
        tokenizer=tokenizer,
        columns=task.input_columns,
        class_ids=class_ids,
        separator=first + classes,
        pad=first + classes + 1,
        end=end,
        start=(start,) if named else (),
    )


def _name_tokens(tokenizer: PreTrainedTokenizerFast, task: TaskData) -> list[list[int]]:
    """The tokens of each class's name inside a line; underscores are blanks."""
    names = [f" {name.replace('_', ' ')}" for name in task.label_names]
    return [list(ids) for ids in tokenizer(names, add_special_tokens=False).input_ids]


@torch.no_grad()
def _separate_classes(model: PreTrainedModel, text_format: TextFormat) -> None:
    """Draws each class token of its own, in place of the copied row (embeddings are tied)."""
    rows = model.get_input_embeddings().weight
    rows[list(text_format.class_ids)] = TINY_CLASS_STD * torch.randn(
        len(text_format.class_ids), rows.shape[1]
    )


def _sampleable(model: PreTrainedModel, text_format: TextFormat) -> Tensor:
    tokenizer = text_format.tokenizer
    allowed = torch.zeros(model.get_input_embeddings().num_embeddings, dtype=torch.bool)
    allowed[: len(tokenizer)] = True
    allowed[list(tokenizer.all_special_ids)] = False
    allowed[text_format.end] = True
    return allowed


def _positions(model: PreTrainedModel) -> int:
    limit = getattr(model.config, "max_position_embeddings", None)
    return int(limit) if limit else TINY_POSITIONS
