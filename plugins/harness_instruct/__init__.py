"""Instruction tasks, causal language models as students, and their evaluators."""

from __future__ import annotations

from harness import hookimpl
from harness.hookspecs import Register

HARNESS_API = 1

_TASKS = "harness_instruct.tasks"
_FILES = "harness_instruct.files"
_STUDENTS = "harness_instruct.students.families"
_EVALUATORS = "harness_instruct.evaluators"


@hookimpl
def harness_register_tasks(register: Register) -> None:
    register(
        "arc-easy",
        f"{_TASKS}:ArcEasy",
        summary="science questions with choices, the easy part of ARC",
        version="1",
    )
    register(
        "arc-challenge",
        f"{_TASKS}:ArcChallenge",
        summary="science questions with choices, the hard part of ARC",
        version="1",
    )
    register(
        "mmlu",
        f"{_TASKS}:Mmlu",
        summary="exam questions of 57 subjects, with P3 as the pool",
        version="1",
    )
    register(
        "instruct-jsonl",
        f"{_FILES}:InstructionFile",
        summary="your own instructions: instruct-jsonl:PATH, also CSV and Parquet",
        version="1",
        argument="path",
    )
    register(
        "instruct-hf",
        f"{_FILES}:InstructionHub",
        summary="any instruction data set of the hub: instruct-hf:OWNER/NAME",
        version="1",
        argument="dataset",
    )


@hookimpl
def harness_register_students(register: Register) -> None:
    register(
        "smollm2",
        f"{_STUDENTS}:SmolLM2",
        summary="SmolLM2, also as a 4-bit file that comes by pip",
        version="1",
        argument="variant",
        variants=("135m", "135m-instruct", "135m-gguf"),
    )
    register(
        "opt",
        f"{_STUDENTS}:Opt",
        summary="OPT, and a tiny random one",
        version="1",
        argument="variant",
        variants=("125m", "tiny"),
    )
    register(
        "llama",
        f"{_STUDENTS}:Llama",
        summary="Llama, and a tiny random one",
        version="1",
        argument="variant",
        variants=("1b", "7b", "tiny"),
    )
    register(
        "gpt2",
        f"{_STUDENTS}:Gpt2",
        summary="GPT-2, and a tiny random one",
        version="1",
        argument="variant",
        variants=("base", "tiny"),
    )
    register(
        "pythia",
        f"{_STUDENTS}:Pythia",
        summary="Pythia",
        version="1",
        argument="variant",
        variants=("70m", "160m"),
    )
    register(
        "qwen",
        f"{_STUDENTS}:Qwen",
        summary="Qwen 2.5",
        version="1",
        argument="variant",
        variants=("0.5b",),
    )
    register(
        "hf-lm",
        f"{_STUDENTS}:AnyCausalLM",
        summary="any causal language model of transformers: hf-lm:MODEL_ID or hf-lm:FOLDER",
        version="1",
        argument="model",
    )


@hookimpl
def harness_register_evaluators(register: Register) -> None:
    register(
        "multiple-choice",
        f"{_EVALUATORS}:MultipleChoice",
        summary="accuracy of the most probable choice, plain and by length, as lm-eval defines it",
        version="1",
    )
    register(
        "completion",
        f"{_EVALUATORS}:CompletionLikelihood",
        summary="how probable the right completions are, for tasks without choices",
        version="1",
    )
