"""Low-rank adapters by peft, drawn from a seed, and merged into the weights again."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import UsageError
from harness.options import Count, ShareBelowOne, require_fields
from harness.randomness import seeded

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

ATTENTION = {
    "llama": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "mistral": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "qwen2": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "qwen3": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "opt": ("q_proj", "k_proj", "v_proj", "out_proj"),
    "gpt2": ("attn.c_attn", "attn.c_proj"),
    "gpt_neox": ("attention.query_key_value", "attention.dense"),
}
"""The projections of attention by model family: what LESS (Xia et al. 2024) adapts in Llama."""


@dataclass(frozen=True)
class LoraOptions:
    """Of the adapters (Hu et al. 2022): W + alpha / rank B A, with B zero at first.

    targets: ends of the names of the linear layers to adapt; attention's projections when empty.
    """

    rank: Count = 8
    alpha: Count = 16
    dropout: ShareBelowOne = 0.0
    targets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require_fields(self, where="lora")


def add_lora(model: PreTrainedModel, options: LoraOptions, seed: int) -> PeftModel:
    """The model with adapters drawn from `seed`; nothing else in it is trainable.

    Raises:
        UsageError: no layer has such a name, or the family is not known and none was named.
    """
    from peft import LoraConfig, get_peft_model

    family = model.config.model_type
    targets = options.targets or ATTENTION.get(family, ())
    if not targets:
        raise UsageError(
            f"which layers of a '{family}' model LoRA should adapt is not known",
            hint="Name them with the option lora_targets.",
        )
    config = LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules=list(targets),
        # GPT-2 stores its linear layers transposed.
        fan_in_fan_out=family == "gpt2",
        task_type="CAUSAL_LM",
    )
    try:
        with seeded(seed), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return get_peft_model(model, config)
    except ValueError as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(f"LoRA cannot adapt {', '.join(targets)}: {reason}") from error


def merge_lora(model: PeftModel) -> PreTrainedModel:
    """The plain model with the adapters added into its weights, all of them trainable again."""
    merged = model.merge_and_unload()
    for parameter in merged.parameters():
        parameter.requires_grad_(True)
    return merged
