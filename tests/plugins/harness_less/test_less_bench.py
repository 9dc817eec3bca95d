"""LESS on the command line: from files of instructions to a board, offline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from harness.cli import main
from harness.testing.instruction import toy_instruction_task


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A pool, and a target with choices for validation and test."""
    task = toy_instruction_task(48)
    for name, rows in task.splits.items():
        _write(tmp_path / f"{name}.jsonl", rows)
    return tmp_path


def _write(path: Path, rows: Dataset) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def bench(files: Path, *students: str) -> list[str]:
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
    return [
        "bench", "quickstart", "--distiller", "less",
        *(part for s in students for part in ("--student", s)),
        "--task", f"instruct-jsonl:{files / 'validation.jsonl'}",
        "--evaluator", "multiple-choice", "--budget", "25%", "--seeds", "0", "--device", "cpu",
        "--output", str(files / "results"),
        *(part for name, value in settings.items() for part in ("--set", f"{name}={value}")),
    ]  # fmt: skip


def run(command: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as end:
        main(command)
    shown = capsys.readouterr()
    assert not end.value.code, shown
    return shown.out


def records(files: Path) -> list[dict[str, Any]]:
    found = [json.loads(path.read_text()) for path in (files / "results/records").iterdir()]
    return [record for record in found if record["distiller"]["name"] == "less"]


def test_a_board_with_less(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = run(bench(files, "llama:tiny"), capsys)
    (less,) = records(files)
    assert less["distilled"]["rows"] == 12
    assert less["distilled"]["used_splits"] == ["train", "validation"]
    assert less["distilled"]["report"]["subtasks"] == 2
    assert less["distiller"]["options"]["proxy"] == "llama:tiny"
    assert len(less["curves"]["distill: warm-up loss"]["values"]) == 2
    assert "less @ 25%" in shown


def test_one_choice_serves_the_proxy_and_a_student_of_another_family(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """LESS-T: rows that one model chooses train another, which the board marks as held out."""
    run(bench(files, "llama:tiny", "gpt2:tiny"), capsys)
    found = records(files)
    assert {record["student"]["component"]["label"] for record in found} == {
        "llama:tiny", "gpt2:tiny"
    }  # fmt: skip
    assert len({record["distill_key"] for record in found}) == 1
    board = json.loads(run(["leaderboard", str(files / "results"), "-f", "json"], capsys))
    (transfer,) = board["transfers"]
    assert transfer["held_out"] == ["gpt2:tiny"]
    (row,) = [row for row in transfer["rows"] if row["method"] == "less"]
    assert row["held_out_mean"] == row["students"]["gpt2:tiny"]
