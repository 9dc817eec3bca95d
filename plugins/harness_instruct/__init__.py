"""Instruction tasks, causal language models as students, and their evaluators."""

from __future__ import annotations

from harness import hookimpl
from harness.hookspecs import Register

HARNESS_API = 1

_TASKS = "harness_instruct.tasks"
_FILES = "harness_instruct.files"


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
