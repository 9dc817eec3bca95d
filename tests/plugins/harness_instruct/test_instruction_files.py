"""Instruction tasks made of a user's own table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.data.sources import DataLocator
from harness.errors import UsageError
from harness.testing.text import check_task_plugin
from harness_instruct.files import InstructionFile, InstructionHub
from resolved import resolved

NOWHERE = DataLocator(None, use_hub=False)


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_prompt_and_completion_by_default(tmp_path: Path) -> None:
    rows = [{"prompt": f"Count to {n}", "completion": n} for n in range(20)]
    task = check_task_plugin(InstructionFile(path=write(tmp_path / "mine.jsonl", rows)), NOWHERE)
    assert task.name == "instruct-jsonl:mine.jsonl"
    assert (len(task.train), len(task.validation), len(task.test)) == (16, 2, 2)
    assert task.test.column_names == ["prompt", "completion"]
    assert {f"Count to {c} " for c in task.train["completion"]} == set(task.train["prompt"])
    assert task.metric == "token_likelihood"


def test_columns_as_alpaca_has_them(tmp_path: Path) -> None:
    rows = [
        {"instruction": f"Add one to {n}.", "input": None if n % 2 else "Be brief.", "output": "x"}
        for n in range(12)
    ]
    task = InstructionFile(
        path=write(tmp_path / "alpaca.jsonl", rows),
        template="{instruction}\n{input}\n",
        completion="{output}",
    ).load(NOWHERE)
    found = {p for split in task.splits.values() for p in split["prompt"]}
    assert "Add one to 4.\nBe brief.\n" in found
    assert "Add one to 5.\n\n" in found


def test_choices_a_subtask_and_a_target_of_its_own(tmp_path: Path) -> None:
    def rows(name: str, count: int) -> list[dict[str, Any]]:
        return [
            {"q": f"{name} {n}", "options": ["no ", "yes"], "right": n % 2, "topic": f"t{n % 3}"}
            for n in range(count)
        ]

    task = check_task_plugin(
        InstructionFile(
            path=write(tmp_path / "train.jsonl", rows("train", 9)),
            validation=write(tmp_path / "dev.jsonl", rows("dev", 4)),
            test=write(tmp_path / "test.jsonl", rows("test", 5)),
            template="{q}? ",
            choices="options",
            answer="right",
            subtask="topic",
        ),
        NOWHERE,
    )
    assert task.metric == "acc_norm"
    assert len(task.train) == 9
    assert task.test[1] == {
        "prompt": "test 1? ", "completion": "yes", "choices": ["no", "yes"], "answer": 1,
        "subtask": "t1",
    }  # fmt: skip
    assert task.source.detail == "train.jsonl + dev.jsonl + test.jsonl"


def test_bad_options_and_rows_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [{"prompt": "a", "completion": True, "c": ["x"], "a": 1}])
    with pytest.raises(UsageError, match="needs a file: instruct-jsonl:PATH"):
        InstructionFile()
    with pytest.raises(UsageError, match="instruct-hf:OWNER/NAME"):
        InstructionHub()
    with pytest.raises(UsageError, match="test_share"):
        resolved(InstructionFile, path=path, test_share=0.5)
    with pytest.raises(UsageError, match="'acc_norm' needs choices"):
        InstructionFile(path=path, metric="acc_norm")
    with pytest.raises(UsageError, match="asks for 'instruction'"):
        InstructionFile(path=path, template="{instruction}").load(NOWHERE)
    with pytest.raises(UsageError, match=r"row 1 of the train split .*'completion', is not text"):
        InstructionFile(path=path).load(NOWHERE)
    with pytest.raises(UsageError, match=r"row 1 .* answer 1 to the choices"):
        InstructionFile(path=path, choices="c", answer="a", template="{prompt} ").load(NOWHERE)
    with pytest.raises(UsageError, match="no column 'options'"):
        InstructionFile(path=path, choices="options").load(NOWHERE)
