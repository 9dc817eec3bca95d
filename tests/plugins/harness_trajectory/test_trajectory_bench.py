"""Trajectory matching on the command line: from files of instructions to a board, offline."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.cli import main
from harness.kit.trajectories.picture import png_of
from harness.testing.instruction import toy_instruction_task
from harness_trajectory import pictures


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A pool, and a target with choices for validation and test."""
    for name, rows in toy_instruction_task(24).splits.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_a_board_with_trajectory_less_and_random(
    files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "png_of", png_of)
    settings = {
        "task.validation": files / "validation.jsonl",
        "task.test": files / "test.jsonl",
        "task.pool": files / "train.jsonl",
        "task.choices": "choices",
        "task.subtask": "subtask",
        "recipe.steps": 2,
        "distiller.trajectory.experts": 2,
        "distiller.trajectory.expert_steps": 6,
        "distiller.trajectory.every": 2,
        "distiller.trajectory.max_start": 2,
        "distiller.trajectory.inner_steps": 2,
        "distiller.trajectory.outer_steps": 2,
        "distiller.trajectory.lora_rank": 2,
        "distiller.less.lora_rank": 2,
        "distiller.less.epochs": 1,
        "distiller.less.fraction": 0.2,
        "distiller.less.target_rows": 2,
    }
    command = [
        "bench", "--distiller", "trajectory,less,random", "--student", "llama:tiny",
        "--task", f"instruct-jsonl:{files / 'validation.jsonl'}",
        "--evaluator", "multiple-choice", "--budget", "4rows", "--seeds", "0", "--device", "cpu",
        "--output", str(files / "results"),
        *(part for name, value in settings.items() for part in ("--set", f"{name}={value}")),
    ]  # fmt: skip
    with pytest.raises(SystemExit) as end:
        main(command)
    shown = capsys.readouterr()
    assert not end.value.code, shown
    records = [json.loads(path.read_text()) for path in (files / "results/records").iterdir()]
    named = {record["distiller"]["name"]: record for record in records}
    assert {"trajectory", "less", "random"} <= set(named)
    found = named["trajectory"]
    assert found["distilled"]["rows"] == 4
    assert found["distilled"]["used_splits"] == ["train"]
    assert found["distilled"]["report"]["method"] == "reconstruction"
    assert found["distiller"]["options"]["proxy"] == "llama:tiny"
    assert len(found["curves"]["distill: matching loss"]["values"]) == 2
    assert "trajectory @ 4rows" in shown.out
    picture = files / "results/pictures" / found["key"] / "trajectories.png"
    assert picture.stat().st_size > 1000
