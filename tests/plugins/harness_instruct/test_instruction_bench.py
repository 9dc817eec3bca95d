"""From a file of instructions to a board, and to an exported set, offline."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import harness
from harness.errors import UsageError

COLOURS = {"grass": "green", "snow": "white", "blood": "red", "coal": "black"}
TINY = {
    "students": ["llama:tiny"],
    "evaluators": ["multiple-choice", "completion"],
    "budgets": ["10rows"],
    "seeds": [0],
    "device": "cpu",
}


@pytest.fixture
def questions(tmp_path: Path) -> str:
    choices = list(COLOURS.values())
    rows = [
        {"question": f"{n}: what colour is {thing}?", "choices": choices, "answer": n % 4}
        for n, thing in enumerate(list(COLOURS) * 6)
    ]
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


SETTINGS = ["task.template={question} ", "task.choices=choices", "recipe.steps=2"]


def test_a_board_of_random_and_full(questions: str, tmp_path: Path) -> None:
    done = harness.bench(
        tasks=[f"instruct-jsonl:{questions}"], distillers=["random"], settings=SETTINGS,
        output=tmp_path / "results", **TINY,
    )  # fmt: skip
    assert [f.message for f in done.outcome.failures] == []
    records = done.results.records
    assert {(r.distiller.name, r.evaluator.name) for r in records} == {
        (method, evaluator)
        for method in ("random", "full")
        for evaluator in ("multiple-choice", "completion")
    }
    for record in records:
        rows = record.task.rows["test"]
        assert set(record.items) >= {"score"}
        assert len(record.items["score"].unpack()) == rows
        assert record.task.label_names == ()
        assert record.student.variant == "tiny"
        assert record.distilled.rows == (10 if record.distiller.name == "random" else 20)
    choice = next(r for r in records if r.evaluator.name == "multiple-choice")
    assert set(choice.metrics) == {"acc", "acc_norm", "acc_bytes"}
    again = harness.bench(
        tasks=[f"instruct-jsonl:{questions}"], distillers=["random"], settings=SETTINGS,
        output=tmp_path / "results", **TINY,
    )  # fmt: skip
    assert again.outcome.computed == 0


def test_an_exported_set_has_prompts_and_completions(questions: str, tmp_path: Path) -> None:
    harness.distill(
        "random", export=tmp_path / "set", task=f"instruct-jsonl:{questions}", budget="10rows",
        settings=SETTINGS, output=tmp_path / "results", device="cpu",
    )  # fmt: skip
    rows = [json.loads(line) for line in (tmp_path / "set/data.jsonl").read_text().splitlines()]
    assert len(rows) == 10
    assert set(rows[0]) == {"prompt", "completion", "train_index"}
    assert all(row["completion"] in COLOURS.values() for row in rows)
    card = (tmp_path / "set/README.md").read_text()
    assert "- text-generation" in card
    assert "- rows: 10\n" in card


def test_rows_of_each_class_are_refused_before_anything_runs(
    questions: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"counts rows of each class(.|\n)*write 200rows"):
        harness.bench(
            tasks=[f"instruct-jsonl:{questions}"], distillers=["random"], settings=SETTINGS,
            output=tmp_path / "results", **{**TINY, "budgets": ["2/class"]},
        )  # fmt: skip
    assert not list((tmp_path / "results").rglob("*.json"))


def test_a_student_of_another_kind_says_so(questions: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="student 'bert:tiny' is for tasks of text-classification"):
        harness.bench(
            tasks=[f"instruct-jsonl:{questions}"], distillers=["random"], settings=SETTINGS,
            output=tmp_path / "results", **{**TINY, "students": ["bert:tiny"]},
        )  # fmt: skip
