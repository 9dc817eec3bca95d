"""Evaluations on small models, and YAML tasks of the user's own as files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from causal_models import make_lm
from harness.testing.instruction import toy_instruction_task
from harness.testing.text import toy_context
from harness.types import Score, Split, TaskData
from harness_lm_eval.evaluator import LmEval

WriteTask = Callable[..., Path]
Evaluate = Callable[..., Score]

DATA = """
from datasets import Dataset

_COLOURS = ["green", "white", "red", "black"]

def rows(**_):
    def table(count, shift):
        return Dataset.from_dict({
            "question": [f"What colour is thing {n + shift}?" for n in range(count)],
            "choices": [_COLOURS[n % 3:] + _COLOURS[: n % 3] for n in range(count)],
            "label": [(n + shift) % 4 for n in range(count)],
        })
    return {"test": table(TEST, 0), "dev": table(8, 50), "train": table(12, 100)}
"""

SETTINGS = {
    "output_type": "multiple_choice",
    "test_split": "test",
    "fewshot_split": "train",
    "doc_to_text": "{{question}}",
    "doc_to_choice": "choices",
    "doc_to_target": "label",
    "metric_list": [
        {"metric": metric, "aggregation": "mean", "higher_is_better": True}
        for metric in ("acc", "acc_norm")
    ],
    "metadata": {"version": 3},
}


@pytest.fixture
def write_task(tmp_path: Path) -> WriteTask:
    """Writes `NAME.yaml` into a folder, with data made by a Python file next to it."""

    def write(
        name: str = "colours", *, folder: str = "tasks", test_rows: int = 30, **changes: object
    ) -> Path:
        target = tmp_path / folder
        target.mkdir(exist_ok=True)
        module = f"{name}_data"
        (target / f"{module}.py").write_text(DATA.replace("TEST", str(test_rows)))
        settings = {"task": name, **SETTINGS, **changes}
        lines = [f"{k}: {json.dumps(v)}" for k, v in settings.items() if v is not None]
        if "dataset_path" not in settings:
            lines.append(f"custom_dataset: !function {module}.rows")
        path = target / f"{name}.yaml"
        path.write_text("\n".join(lines) + "\n")
        return path

    return write


@pytest.fixture
def evaluate(tmp_path: Path) -> Evaluate:
    """Scores a harness task's own questions."""

    def run(lm: object, task: TaskData, split: Split = "test", **options: Any) -> Score:
        return LmEval(**options).evaluate(lm, task, split, toy_context(tmp_path))

    return run


@pytest.fixture
def evaluate_named(tmp_path: Path) -> Evaluate:
    """Scores a task of lm-eval's with a small model."""

    def run(path: Path | str, split: Split = "test", seed: int = 3, **options: Any) -> Score:
        task, context = toy_instruction_task(), toy_context(tmp_path / "work")
        lm = make_lm("llama", seed=seed)
        lm.model.config.max_position_embeddings = 512
        return LmEval(task=str(path), **options).evaluate(lm, task, split, context)

    return run
