"""Both methods on the command line: from a file of texts and a folder with a model to a board."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tdd_world import Checkpoint, make_context, toy

from harness.cli import main


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A task's rows, and a model without a head."""
    task = toy()
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in task.train))
    made = Checkpoint("tiny").build(task, make_context(tmp_path / "work"))
    made.model.base_model.save_pretrained(tmp_path / "model")
    made.tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path


def test_a_board_with_both_and_random(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = {"outer_steps": 2, "inner_steps": 2, "real_batch": 4, "heads": 2, "held_out": 4}
    settings = {
 "task.text": "text", "task.label": "label", "recipe.steps": 2,
        **{f"distiller.{name}.{option}": value
           for name in ("tdd", "tdd-tokens") for option, value in options.items()},
    }  # fmt: skip
    command = [
        "bench", "--distiller", "tdd,tdd-tokens,random", "--student", f"hf:{files / 'model'}",
        "--task", f"jsonl:{files / 'rows.jsonl'}", "--budget", "2/class", "--seeds", "0",
        "--device", "cpu", "--output", str(files / "results"),
        *(part for name, value in settings.items() for part in ("--set", f"{name}={value}")),
    ]  # fmt: skip
    with pytest.raises(SystemExit) as end:
        main(command)
    shown = capsys.readouterr()
    assert not end.value.code, shown
    records = [json.loads(path.read_text()) for path in (files / "results/records").iterdir()]
    named = {record["distiller"]["name"]: record for record in records}
    assert {"tdd", "tdd-tokens", "random"} <= set(named)
    for name in ("tdd", "tdd-tokens"):
        found = named[name]
        assert found["distilled"]["rows"] == 4
        assert found["distilled"]["used_splits"] == ["train"]
        assert found["distilled"]["report"]["outer_steps"] == 2
        assert found["distiller"]["options"]["proxy"].startswith("hf:")
        assert len(found["curves"]["distill: real loss"]["values"]) == 2
        assert f"{name} @ 2/class" in shown.out
