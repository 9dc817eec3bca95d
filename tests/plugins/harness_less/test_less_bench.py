"""LESS on the command line: from files of instructions to a board, offline."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from datasets import Dataset

from harness.cli import main
from harness.testing_instruct import toy_instruction_task


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A pool, and a target with choices for validation and test."""
    task = toy_instruction_task(48)
    for name, rows in task.splits.items():
        _write(tmp_path / f"{name}.jsonl", rows)
    return tmp_path


def _write(path: Path, rows: Dataset) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_board_with_less(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = {
        "task.validation": files / "validation.jsonl",
        "task.test": files / "test.jsonl",
        "task.pool": files / "train.jsonl",
        "task.choices": "choices",
        "task.subtask": "subtask",
        "recipe.steps": 2,
        "recipe.full_steps": 2,
        "distiller.less.proxy": "llama:tiny",
        "distiller.less.lora_rank": 2,
        "distiller.less.epochs": 2,
        "distiller.less.fraction": 0.2,
        "distiller.less.target_rows": 2,
    }
    command = [
        "bench", "--distiller", "less", "--student", "llama:tiny",
        "--task", f"instruct-jsonl:{files / 'validation.jsonl'}",
        "--evaluator", "multiple-choice", "--budget", "25%", "--seeds", "0", "--device", "cpu",
        "--output", str(files / "results"),
        *(part for name, value in settings.items() for part in ("--set", f"{name}={value}")),
    ]  # fmt: skip
    with pytest.raises(SystemExit) as end:
        main(command)
    shown = capsys.readouterr()
    assert not end.value.code, shown
    records = [json.loads(path.read_text()) for path in (files / "results/records").iterdir()]
    (less,) = [r for r in records if r["distiller"]["name"] == "less"]
    assert less["distilled"]["rows"] == 12
    assert less["distilled"]["used_splits"] == ["train", "validation"]
    assert less["distilled"]["report"]["subtasks"] == 2
    assert less["distiller"]["options"]["proxy"] == "llama:tiny"
    assert len(less["curves"]["distill: warm-up loss"]["values"]) == 2
    assert "less @ 25%" in shown.out
