"""Random multiple-choice questions: as a harness task, and as lm-eval's user would write them."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from datasets import Dataset

from harness.testing.instruction import toy_instruction_task
from harness.types import TaskData

METRICS = ("acc", "acc_norm", "acc_bytes")
_WORDS = ("green", "white", "red", "a", "the", "of", "cold", "very long", "ünï", "snow", "is not")


def random_rows(rows: int, seed: int) -> dict[str, list[Any]]:
    """Questions of random words with two to five random choices; the answer's place varies."""
    draw = random.Random(seed)

    def text(most: int) -> str:
        return " ".join(draw.choices(_WORDS, k=draw.randint(1, most)))

    choices = [[text(4) for _ in range(draw.randint(2, 5))] for _ in range(rows)]
    answers = [draw.randrange(len(options)) for options in choices]
    return {
        "prompt": [f"Question {seed}.{n}: {text(5)}?\nAnswer: " for n in range(rows)],
        "completion": [options[a] for options, a in zip(choices, answers, strict=True)],
        "choices": choices,
        "answer": answers,
    }


def random_task(rows: int = 60, metric: str = "acc_norm") -> TaskData:
    test, validation = (Dataset.from_dict(random_rows(n, s)) for n, s in ((rows, 1), (12, 2)))
    return replace(
        toy_instruction_task(metric=metric),
        splits={"train": validation.select_columns(["prompt", "completion"]),
                "validation": validation, "test": test},
        scoring_columns=("choices", "answer"),
    )  # fmt: skip


def plain_config(rows: Dataset, **changes: Any) -> dict[str, Any]:
    """The same questions as somebody who knows lm-eval alone would describe them."""
    return {
        "task": "alone",
        "custom_dataset": lambda **_: {"test": rows},
        "output_type": "multiple_choice",
        "test_split": "test",
        "doc_to_text": lambda doc: doc["prompt"].rstrip(),
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "{{answer}}",
        "metric_list": [
            {"metric": metric, "aggregation": "mean", "higher_is_better": True}
            for metric in METRICS
        ],
        **changes,
    }
